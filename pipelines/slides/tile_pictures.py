"""The tiles of a slide as pictures: one ZIP archive a slide, with a member ``<x>_<y>.jpg`` for each tile.

An archive appears whole or not at all and is one file where a folder would be ten thousand, which
shared file systems and copying bear badly. ``unzip`` makes the folder of it. Members are not
compressed again, so that each is read by itself.
"""

from __future__ import annotations

import json
import zipfile
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

from pipelines.core.files import canonical_json, replacing
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.provenance import Provenance
from pipelines.core.settings import PictureSettings
from pipelines.core.tiled_slide import TiledSlide

MADE_BY = "five embed --save-patches"
QUALITY = {"jpg": cv2.IMWRITE_JPEG_QUALITY, "webp": cv2.IMWRITE_WEBP_QUALITY}


@dataclass(frozen=True)
class PictureFolder:
    """Where the pictures go and how they are made; an output of `pipelines.embed`."""

    folder: Path
    settings: PictureSettings
    threads: int = 1
    """Threads that compress pictures."""
    name: str = "patches"

    def refuse_other_settings(self) -> None:
        """Raise `ChangedSettingsError` if the folder was made with other settings."""
        refuse_other_settings(self.folder, MADE_BY, Provenance.of(self.settings))

    def claim(self) -> None:
        """Take the folder for these settings, whatever it was made with."""
        claim_folder(self.folder, MADE_BY, Provenance.of(self.settings), overwrite=True)

    def is_current(self, slide: TiledSlide) -> bool:
        """Tell whether the pictures of ``slide`` are there whole, from the same tiles in the same way."""
        try:
            with zipfile.ZipFile(self._path(slide)) as archive:
                made = Provenance.from_attributes(json.loads(archive.comment))
        except (OSError, ValueError, zipfile.BadZipFile):
            return False
        return made.same_work(self._provenance(slide))

    def load(self, device: str) -> PictureFolder:
        """Return what writes; nothing has to be loaded."""
        return self

    @contextmanager
    def writing(self, slide: TiledSlide, row: Mapping[str, Any], n_tiles: int) -> Iterator[_Pictures]:
        """Yield what takes the batches of ``slide``; its archive appears when the block ends well."""
        with (
            replacing(self._path(slide)) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
            ThreadPoolExecutor(self.threads, thread_name_prefix="picture") as pool,
        ):
            archive.comment = canonical_json(self._provenance(slide).to_attributes()).encode()
            yield _Pictures(self.settings, archive, pool)

    def _path(self, slide: TiledSlide) -> Path:
        return self.folder / f"{slide.slide_id}.zip"

    def _provenance(self, slide: TiledSlide) -> Provenance:
        return replace(Provenance.of(self.settings), input_fingerprint=slide.fingerprint)


@dataclass(frozen=True)
class _Pictures:
    """The archive of one slide while it is written."""

    settings: PictureSettings
    archive: zipfile.ZipFile
    pool: ThreadPoolExecutor

    def add(self, pixels: NDArray[np.uint8], coords: NDArray[np.int64]) -> None:
        """Write the tiles ``pixels`` (B, S, S, 3), RGB, whose corners are ``coords`` (B, 2)."""
        pictures = self.pool.map(partial(_compressed, self.settings), pixels)
        for (x, y), picture in zip(coords.tolist(), pictures, strict=True):
            # ZipInfo's own date, so that the same tiles make the same archive
            self.archive.writestr(zipfile.ZipInfo(f"{x}_{y}.{self.settings.format}"), picture)

    def finish(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return nothing to record; the archive tells all."""
        return {}


def _compressed(settings: PictureSettings, rgb: NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(f".{settings.format}", bgr, (QUALITY[settings.format], settings.quality))
    return bytes(data)
