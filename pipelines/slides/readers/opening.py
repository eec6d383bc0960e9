"""Choose the reader of a slide file."""

from __future__ import annotations

from pathlib import Path

import openslide

from pipelines.core.errors import SlideError
from pipelines.slides.readers.base import DAMAGED, Reader
from pipelines.slides.readers.fast_tiff import fast_reader
from pipelines.slides.readers.image_reader import ImageReader
from pipelines.slides.readers.ome_tiff import OmeTiffReader, is_ome_tiff
from pipelines.slides.readers.openslide_reader import OpenSlideReader
from pipelines.slides.readers.tiff_claims import refuse_false_claims


def open_reader(path: Path) -> Reader:
    """Open ``path`` with tifffile if it is an OME-TIFF, else with OpenSlide, else with Pillow as a plain RGB image.

    If OpenSlide opens the slide, `fast_reader` reads its pixels where possible.

    Raises
    ------
    SlideError
        The file is missing, unreadable, damaged, or of an unknown format.
    SettingsError
        The environment variable ``FIVE_READER`` has an unknown value.
    """
    try:
        if path.is_file():
            refuse_false_claims(path)
        elif not path.exists():
            raise SlideError(f"{path}: no such file", hint="check the cohort column 'path'")
        # OpenSlide would read only the first level of an OME-TIFF
        return OmeTiffReader(path) if is_ome_tiff(path) else fast_reader(path, OpenSlideReader(path))
    except openslide.OpenSlideUnsupportedFormatError:
        return ImageReader(path)
    except openslide.OpenSlideError as error:
        raise SlideError(f"{path}: OpenSlide cannot open it: {error}", hint=DAMAGED) from error
    except OSError as error:
        raise SlideError(
            f"{path}: cannot be read: {error.strerror or error}", hint="check the permissions of the file"
        ) from error
