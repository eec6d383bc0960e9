"""Small slide files for tests: lossless pyramids, drawings of tissue, and damaged files."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

GLASS = (242, 240, 243)


def write_lossless_slide(path: Path, rgb: np.ndarray, mpp: float | None, levels: Sequence[int] = (1,)) -> Path:
    """Write an uncompressed tiled TIFF that OpenSlide can open, with the downsamples ``levels``; return ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = rgb.shape[:2]
    density = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        for downsample in levels:
            size = (width // downsample, height // downsample)
            level = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
            tags = density if downsample == 1 else {}
            kind = 0 if downsample == 1 else 1
            tiff.write(level, tile=(256, 256), photometric="rgb", metadata=None, subfiletype=kind, **tags)
    return path


def tissue_drawing(height: int, width: int, areas: Sequence[tuple[int, int, int, int]], *, seed: int = 0) -> np.ndarray:
    """Return glass with ``areas`` (top, bottom, left, right; pixels) of sharp pink tissue with nuclei, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    rgb = np.empty((height, width, 3), np.uint8)
    rgb[:] = GLASS
    for top, bottom, left, right in areas:
        nuclei = rng.random((bottom - top, right - left), np.float32)
        nuclei = cv2.resize(nuclei[::6, ::6], (right - left, bottom - top), interpolation=cv2.INTER_NEAREST) > 0.6
        rgb[top:bottom, left:right] = np.where(nuclei[..., None], (110, 60, 150), (225, 150, 195))
    return rgb


def destroy_tile(path: Path, level: int, index: int) -> None:
    """Overwrite a stored tile of the slide with zeros, so that it cannot be decoded."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[level]
        offset, length = page.dataoffsets[index], page.databytecounts[index]
    with path.open("rb+") as stream:
        stream.seek(offset)
        stream.write(b"\0" * length)
