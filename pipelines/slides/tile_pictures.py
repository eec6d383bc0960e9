"""Write the tiles of a slide as images: one ZIP archive per slide, with a member ``<x>_<y>.jpg`` per tile.

One archive is easier to copy, and easier for shared file systems, than a folder with ten thousand files. It
appears only when it is complete. Members are stored without further compression, so each can be read on its own.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.damage import UNREADABLE
from pipelines.core.files import canonical_json, fingerprint, replacing
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.provenance import Provenance
from pipelines.core.sealed_json import open_sealed, seal
from pipelines.core.settings import PictureSettings
from pipelines.core.tiled_slide import TiledSlide

MADE_BY = "five embed --save-patches"
UNREADABLE_ARCHIVE = (*UNREADABLE, zipfile.BadZipFile, zlib.error, EOFError, struct.error, AttributeError)
"""What zipfile raises for a damaged archive, and the parser of its comment."""
PICTURES = "five.pictures"
"""Key of the fingerprint of the members in the archive comment."""
QUALITY = {"jpg": cv2.IMWRITE_JPEG_QUALITY, "webp": cv2.IMWRITE_WEBP_QUALITY}


@dataclass(frozen=True)
class PictureFolder:
    """Folder for the images of tiles and how they are made; an output of `pipelines.embed`."""

    folder: Path
    settings: PictureSettings
    threads: int = 1
    """Threads that compress images."""
    name: str = "patches"

    def refuse_other_settings(self) -> None:
        """Raise `ChangedSettingsError` if the folder was made with other settings."""
        refuse_other_settings(self.folder, MADE_BY, Provenance.of(self.settings))

    def claim(self) -> None:
        """Record these settings in the folder, whatever settings it was made with."""
        claim_folder(self.folder, MADE_BY, Provenance.of(self.settings), overwrite=True)

    def is_current(self, slide: TiledSlide) -> bool:
        """Return whether the archive of ``slide`` is undamaged and made from the same tiles with the same settings.

        All pictures are read to compare their CRCs.
        """
        try:
            with zipfile.ZipFile(self._path(slide)) as archive:
                comment = open_sealed(archive.comment.decode())
                is_same = Provenance.from_attributes(comment).same_work(self._provenance(slide))
                return is_same and comment[PICTURES] == _listed(archive) and archive.testzip() is None
        except UNREADABLE_ARCHIVE:
            return False

    def load(self, device: str) -> PictureFolder:
        """Return self; nothing has to be loaded."""
        return self

    @contextmanager
    def writing(self, slide: TiledSlide, row: Mapping[str, Any], n_tiles: int) -> Iterator[_ArchiveWriter]:
        """Yield the writer for ``slide``; its archive appears when the block ends without an error."""
        with (
            replacing(self._path(slide)) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
            ThreadPoolExecutor(self.threads, thread_name_prefix="picture") as pool,
        ):
            yield _ArchiveWriter(self.settings, archive, pool)
            comment = {**self._provenance(slide).to_attributes(), PICTURES: _listed(archive)}
            archive.comment = canonical_json(seal(comment)).encode()

    def _path(self, slide: TiledSlide) -> Path:
        return self.folder / f"{slide.slide_id}.zip"

    def _provenance(self, slide: TiledSlide) -> Provenance:
        return replace(Provenance.of(self.settings), input_fingerprint=slide.fingerprint)


@dataclass(frozen=True)
class _ArchiveWriter:
    """Writes the archive of one slide."""

    settings: PictureSettings
    archive: zipfile.ZipFile
    pool: ThreadPoolExecutor

    def add(self, pixels: NDArray[np.uint8], coords: NDArray[np.int64]) -> None:
        """Write a batch of tiles: pixels (B, S, S, 3), RGB, and top-left corners (B, 2), level-0 pixels."""
        pictures = self.pool.map(partial(_compressed, self.settings), pixels)
        for (x, y), picture in zip(coords.tolist(), pictures, strict=True):
            # ZipInfo's default date makes archives of the same tiles identical
            self.archive.writestr(zipfile.ZipInfo(f"{x}_{y}.{self.settings.format}"), picture)

    def finish(self, read_stats: Mapping[str, Any]) -> dict[str, Any]:
        """Return an empty row: the archive itself is the record."""
        return {}


def _listed(archive: zipfile.ZipFile) -> str:
    """Return a fingerprint of the names and CRCs of the members."""
    return fingerprint([(member.filename, member.CRC) for member in archive.infolist()])


def _compressed(settings: PictureSettings, rgb: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(f".{settings.format}", bgr, (QUALITY[settings.format], settings.quality))
    return bytes(data)
