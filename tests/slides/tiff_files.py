"""Write tiled TIFF slides in the layouts that scanners and converters use, for tests of the fast reader."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from PIL import Image

FIELD_TYPES = {"s": 2, "H": 3, "I": 4, "B": 7}
"""TIFF field types of text, 16-bit and 32-bit values, and bytes."""


@dataclass(frozen=True)
class Layout:
    """How tiles are compressed, and what the TIFF directory says about them."""

    encode: Callable[[np.ndarray], bytes]
    compression: int
    photometric: int
    tables: bool = False
    """Store the tables that all JPEG tiles share once, in the directory."""


def jpeg(subsampling: str) -> Callable[[np.ndarray], bytes]:
    return lambda rgb: simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), 90, "RGB", subsampling)


def rgb_jpeg(rgb: np.ndarray) -> bytes:
    """Encode RGB without conversion to YCbCr, marked by an Adobe segment."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=90, keep_rgb=True, subsampling=0)
    return stream.getvalue()


def unlabelled_rgb_jpeg(rgb: np.ndarray) -> bytes:
    """Encode as Aperio does: nothing in the tile shows that it is not YCbCr."""
    tables, frame = split_jpeg(rgb_jpeg(rgb))
    start, scan = frame.index(b"\xff\xc0"), frame.index(b"\xff\xda")
    frame = bytearray(frame)
    for component in range(3):
        frame[start + 10 + 3 * component] = component
        frame[scan + 5 + 2 * component] = component
    return tables[:-2] + bytes(frame[2:])


def rgb_jpeg_labelled_jfif(rgb: np.ndarray) -> bytes:
    """Encode RGB with a JFIF segment, which implies YCbCr; the TIFF directory takes precedence."""
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + unlabelled_rgb_jpeg(rgb)[2:]


def jpeg2000(rgb: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG2000", no_jp2=True, irreversible=True, quality_layers=[40], mct=1)
    return stream.getvalue()


LAYOUTS = {
    "4:2:0": Layout(jpeg("420"), 7, 6),
    "4:2:0 with tables": Layout(jpeg("420"), 7, 6, tables=True),
    "4:2:2 with tables": Layout(jpeg("422"), 7, 6, tables=True),
    "4:4:4": Layout(jpeg("444"), 7, 6),
    "RGB": Layout(rgb_jpeg, 7, 2),
    "unlabelled RGB with tables": Layout(unlabelled_rgb_jpeg, 7, 2, tables=True),
    "RGB labelled JFIF": Layout(rgb_jpeg_labelled_jfif, 7, 2),
    "JPEG 2000": Layout(jpeg2000, 33005, 2),
}


def split_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Return the tables and the rest as two streams without APPn segments, as required by TIFF's JPEGTables."""
    tables, frame, position = b"\xff\xd8", b"\xff\xd8", 2
    while data[position + 1] != 0xDA:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        segment = data[position : position + 2 + length]
        if marker in (0xDB, 0xC4):  # quantization, Huffman
            tables += segment
        elif not 0xE0 <= marker <= 0xEF:
            frame += segment
        position += len(segment)
    return tables + b"\xff\xd9", frame + data[position:]


def write_tiff(
    path: Path,
    levels: Sequence[np.ndarray],
    layout: Layout,
    *,
    tile: int = 256,
    description: str = "Aperio Image Library x\r\nJPEG|AppMag = 40|MPP = 0.25",
    missing: int | None = None,
) -> list[tuple[int, int]]:
    """Write a slide; return offset and size of each tile of level 0. The tile ``missing`` gets size 0."""
    stored_tiles: list[tuple[int, int]] = []
    with path.open("wb") as stream:
        stream.write(b"II*\0\0\0\0\0")
        link = 4
        for number, rgb in enumerate(levels):
            encoded = [layout.encode(part) for part in _tiles(rgb, tile)]
            shared = split_jpeg(encoded[0])[0] if layout.tables else b""
            stored = [split_jpeg(data)[1] if layout.tables else data for data in encoded]
            offsets = []
            for data in stored:
                offsets.append(stream.tell())
                stream.write(data)
            counts = [0 if index == missing else len(data) for index, data in enumerate(stored)]
            tags = [
                (254, "I", [min(number, 1)]),
                (256, "I", [rgb.shape[1]]),
                (257, "I", [rgb.shape[0]]),
                (258, "H", [8, 8, 8]),
                (259, "H", [layout.compression]),
                (262, "H", [layout.photometric]),
                (270, "s", description.encode() + b"\0"),
                (277, "H", [3]),
                (322, "I", [tile]),
                (323, "I", [tile]),
                (324, "I", offsets),
                (325, "I", counts),
                *([(347, "B", shared)] if shared else []),
            ]
            link = _write_directory(stream, tags, link)
            stored_tiles = stored_tiles or list(zip(offsets, counts, strict=True))
    return stored_tiles


def pyramid(rgb: np.ndarray, *factors: int) -> list[np.ndarray]:
    """Return ``rgb`` and copies reduced by ``factors``; sizes are rounded up."""
    height, width = rgb.shape[:2]
    small = [cv2.resize(rgb, (-(-width // f), -(-height // f)), interpolation=cv2.INTER_AREA) for f in factors]
    return [rgb, *small]


def stained(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return pink and purple structures of several sizes, (height, width, 3)."""
    rng = np.random.default_rng(seed)
    rgb = np.empty((height, width, 3), np.float32)
    rgb[:] = (205, 150, 190)
    for sigma, amount in ((2, 25), (6, 35), (40, 50)):
        noise = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), sigma)
        rgb += (amount * noise / noise.std())[..., None] * np.array([1, 0.8, 0.4], np.float32)
    return rgb.clip(0, 255).astype(np.uint8)


def colored(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Return fine structure in color only, (height, width, 3): pink and blue of nearly the same lightness."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    blue = cv2.GaussianBlur(noise, (0, 0), 2.2) > 0
    return np.where(blue[..., None], np.uint8((150, 140, 215)), np.uint8((205, 120, 165)))


def _tiles(rgb, tile):
    for top in range(0, rgb.shape[0], tile):
        for left in range(0, rgb.shape[1], tile):
            part = rgb[top : top + tile, left : left + tile]
            below, right = tile - part.shape[0], tile - part.shape[1]
            yield cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 255, 0))


def _write_directory(stream, tags, link):
    entries = b""
    for number, letter, values in tags:
        data = values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{letter}", *values)
        value = data.ljust(4, b"\0")
        if len(data) > 4:  # stored elsewhere; the entry has its offset
            value = struct.pack("<I", stream.tell())
            stream.write(data + b"\0" * (len(data) % 2))
        entries += struct.pack("<HHI", number, FIELD_TYPES[letter], len(values)) + value
    stream.write(b"\0" * (stream.tell() % 2))
    start = stream.tell()
    stream.write(struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
    end = stream.tell()
    stream.seek(link)
    stream.write(struct.pack("<I", start))
    stream.seek(end)
    return end - 4
