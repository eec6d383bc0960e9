"""Chooses the reader of a slide file: tifffile for OME-TIFF, OpenSlide for slides, Pillow for plain pictures."""

from __future__ import annotations

from pathlib import Path

import openslide

from pipelines.core.errors import SlideError
from pipelines.slides.readers.base import DAMAGED, Reader
from pipelines.slides.readers.image_reader import ImageReader
from pipelines.slides.readers.openslide_reader import OpenSlideReader


def open_reader(path: Path) -> Reader:
    """Open ``path`` as OME-TIFF if it is one, else with OpenSlide, else as a plain RGB picture.

    Raises
    ------
    SlideError
        The file is missing, unreadable, damaged, or of no known format.
    """
    try:
        if path.is_file():
            path.open("rb").close()
        elif not path.exists():
            raise SlideError(f"{path}: no such file", hint="check the cohort column 'path'")
        return _ome_tiff(path) or OpenSlideReader(path)
    except openslide.OpenSlideUnsupportedFormatError:
        return ImageReader(path)
    except openslide.OpenSlideError as error:
        raise SlideError(f"{path}: OpenSlide cannot open it: {error}", hint=DAMAGED) from error
    except OSError as error:
        raise SlideError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check the file's rights"
        ) from error


def _ome_tiff(path: Path) -> Reader | None:
    """Open ``path`` if it is an OME-TIFF, of which OpenSlide would read the first level only."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    # tifffile takes a quarter of a second to import
    from pipelines.slides.readers.ome_tiff import OmeTiffReader, is_ome_tiff

    return OmeTiffReader(path) if is_ome_tiff(path) else None
