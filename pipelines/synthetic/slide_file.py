"""Write pixels as a slide file: a pyramid of JPEG tiles that OpenSlide reads as Aperio SVS.

The TIFF structure is written by hand because tifffile needs imagecodecs even for tiles that are already JPEG.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import cv2
import tifffile

from pipelines.core.files import replacing
from pipelines.synthetic.stains import RGB

MAKER = "synthetic, drawn by five demo cohort"
TILE = 256
"""Edge of a stored JPEG tile, pixels."""
QUALITY = 85
"""JPEG quality, 0 to 100."""
DOWNSAMPLE = 4
"""Downsample factor between two levels of the pyramid."""

Tag = tuple[int, str, Sequence[int] | bytes]
"""Number of a TIFF tag, `struct` format letter of its values, and the values."""
FIELD_TYPES = {"s": 2, "H": 3, "I": 4}
"""TIFF field types of text, 16-bit and 32-bit values."""


def write_pyramidal_slide(path: Path, rgb: RGB, mpp: float, *, drawing: str = "") -> None:
    """Write ``rgb`` (H, W, 3) to ``path`` (.svs, below 4 GB) completely or not at all.

    Parameters
    ----------
    mpp
        Microns per pixel of ``rgb``.
    drawing
        Fingerprint of what was drawn; `drawing_of` reads it back.
    """
    height, width = rgb.shape[:2]
    description = (
        f"Aperio Image Library ({MAKER})\r\n{width}x{height} ({TILE}x{TILE}) JPEG/RGB Q={QUALITY}"
        f"|AppMag = {10 / mpp:g}|MPP = {mpp:g}|Synthetic = yes|Drawing = {drawing}"
    )
    with replacing(path) as part, part.open("wb") as stream:
        stream.write(b"II*\0\0\0\0\0")
        link = 4  # where the offset of the next directory is written
        for reduced, level in enumerate(_pyramid(rgb)):
            link = _write_level(stream, level, description, link, reduced=reduced > 0)


def drawing_of(path: Path) -> str | None:
    """Return the ``drawing`` recorded in the slide at ``path``; None if `write_pyramidal_slide` did not write it."""
    try:
        with tifffile.TiffFile(path) as tiff:
            description: str = tiff.pages.first.description
    except (OSError, tifffile.TiffFileError):
        return None
    return description.rpartition("|Drawing = ")[2] if MAKER in description else None


def _pyramid(rgb: RGB) -> Iterator[RGB]:
    """Yield ``rgb``, then smaller copies while both sides are at least half a tile."""
    yield rgb
    height, width = (side // DOWNSAMPLE for side in rgb.shape[:2])
    if min(height, width) >= TILE // 2:
        yield from _pyramid(cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA))


def _write_level(stream: BinaryIO, rgb: RGB, description: str, link: int, *, reduced: bool) -> int:
    """Append the tiles and the directory of one level; return the position of the link to the next directory."""
    offsets, counts = [], []
    for tile in _jpeg_tiles(rgb):
        offsets.append(stream.tell())
        counts.append(stream.write(tile))
    tags: list[Tag] = [
        (254, "I", [int(reduced)]),  # NewSubfileType
        (256, "I", [rgb.shape[1]]),  # ImageWidth
        (257, "I", [rgb.shape[0]]),  # ImageLength
        (258, "H", [8, 8, 8]),  # BitsPerSample
        (259, "H", [7]),  # Compression: JPEG
        (262, "H", [6]),  # PhotometricInterpretation: YCbCr
        (270, "s", description.encode("ascii") + b"\0"),
        (277, "H", [3]),  # SamplesPerPixel
        (322, "I", [TILE]),  # TileWidth
        (323, "I", [TILE]),  # TileLength
        (324, "I", offsets),
        (325, "I", counts),
        (530, "H", [2, 2]),  # YCbCrSubSampling
    ]
    return _write_directory(stream, tags, link)


def _write_directory(stream: BinaryIO, tags: Sequence[Tag], link: int) -> int:
    """Append a TIFF directory and write its offset at ``link``; values longer than 4 bytes are written before it.

    Returns the position of the link to the next directory.
    """
    entries = []
    for number, letter, values in tags:
        data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{letter}", *values)
        if len(data) > 4:
            stream.write(b"\0" * (stream.tell() % 2))
            value = struct.pack("<I", stream.tell())
            stream.write(data)
        else:
            value = data.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", number, FIELD_TYPES[letter], len(values)) + value)
    stream.write(b"\0" * (stream.tell() % 2))
    start = stream.tell()
    stream.write(struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0))
    end = stream.tell()
    stream.seek(link)
    stream.write(struct.pack("<I", start))
    stream.seek(end)
    return end - 4


def _jpeg_tiles(rgb: RGB) -> Iterator[bytes]:
    """Yield the JPEG tiles of a level row by row; tiles at the edge are padded by repeating their last pixels."""
    chroma = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420)
    for top in range(0, rgb.shape[0], TILE):
        for left in range(0, rgb.shape[1], TILE):
            tile = rgb[top : top + TILE, left : left + TILE, ::-1]
            below, right = TILE - tile.shape[0], TILE - tile.shape[1]
            tile = cv2.copyMakeBorder(tile, 0, below, 0, right, cv2.BORDER_REPLICATE)
            _, encoded = cv2.imencode(".jpg", tile, (cv2.IMWRITE_JPEG_QUALITY, QUALITY, *chroma))
            yield encoded.tobytes()
