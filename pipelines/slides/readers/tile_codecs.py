"""Decode compressed tiles of a TIFF slide as OpenSlide does, or directly at half or a quarter of their size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar, Protocol

import cv2
import numpy as np
import simplejpeg

from pipelines.slides.pixels import Rgb

START, END = b"\xff\xd8", b"\xff\xd9"
"""Markers at the start and end of every JPEG stream; JPEG 2000 has the same end marker."""
SIZE_2000 = b"\xff\x4f\xff\x51"
"""Markers at the start of every JPEG 2000 codestream; the second one starts the header with its size."""
JFIF = b"\xff\xe0"
"""Marker of the segment that makes libjpeg assume YCbCr, whatever the TIFF directory says."""

QUANTIZATION, FRAME_HEADERS = 0xDB, frozenset((0xC0, 0xC1, 0xC2))
"""Types of JPEG segments."""
ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)
"""Row and column of the coefficients in the order of a quantization table."""
_RESPONSE = 3 / 4 + np.cos(np.pi * np.arange(8) / 8) / 4
SMOOTHING = np.array([_RESPONSE[row] * _RESPONSE[column] for row, column in ZIGZAG])
"""Factor per coefficient of an 8 x 8 DCT that smooths with the kernel (1/8, 3/4, 1/8) along both axes."""


class TileCodec(Protocol):
    """Decodes the tiles of one level, all of the same size."""

    @property
    def reductions(self) -> tuple[int, ...]:
        """Factors by which tiles can be reduced while they are decoded, largest first, ending with 1."""

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return a tile of ``height / reduction`` x ``width / reduction`` pixels.

        Raises
        ------
        ValueError
            The data are damaged or incomplete, or have another size.
        """


@dataclass(frozen=True)
class JpegCodec:
    """JPEG decoded by libjpeg-turbo; a smaller inverse DCT reduces tiles, which is the area mean except for rounding.

    With chroma stored at half the size (4:2:0), a reduced tile would contain chroma as stored.
    OpenSlide interpolates chroma to the full size, so its area mean is 3/4 of a stored value plus
    1/8 of each neighbor, along both axes. This smoothing multiplies each DCT coefficient by a
    constant, as the quantization table does. Reduced tiles are therefore decoded with a changed
    quantization table for chroma, which costs no time.
    """

    width: int
    height: int
    prefix: bytes
    """Bytes before the segments of every tile: start marker, color space, tables shared by all tiles."""
    smooth_tables: frozenset[int]
    """Numbers of the quantization tables to change for smoothing; empty if chroma has the full size."""
    usual_head: bytes = b""
    """Segments up to the frame header, with which nearly every tile begins."""
    reductions: ClassVar[tuple[int, ...]] = (4, 2, 1)

    @classmethod
    def of(cls, width: int, height: int, tables: bytes, first_tile: bytes, *, is_rgb: bool) -> JpegCodec:
        """Return the codec for a level whose ``JPEGTables`` are ``tables`` (empty if there are none).

        Only the TIFF directory says whether the tiles are RGB or YCbCr, so an Adobe segment that
        tells libjpeg is added. ``first_tile`` shows how chroma is stored.

        Raises
        ------
        ValueError
            ``first_tile`` is not a JPEG stream of this size.
        """
        adobe = struct.pack(">2sH5sHHHB", b"\xff\xee", 14, b"Adobe", 100, 0, 0, 0 if is_rgb else 1)
        prefix = START + adobe + tables.removeprefix(START).removesuffix(END)
        smooth = frozenset() if is_rgb else _tables_of_halved_chroma(first_tile)
        segments = _without_start(first_tile)
        _check_jpeg_size(segments, width, height)
        usual_head = segments[: max((end for *_, end in _segments(segments)), default=0)]
        return cls(width, height, prefix, smooth, usual_head)

    @cached_property
    def _reduced_prefix(self) -> bytes:
        return START + _smoothed(self.prefix[len(START) :], self.smooth_tables)

    @cached_property
    def _reduced_head(self) -> bytes:
        return self._reduced_prefix + _smoothed(self.usual_head, self.smooth_tables)

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return the tile; damage that libjpeg would fill with gray after a warning raises an error too."""
        data = _without_start(data)
        is_usual = bool(self.usual_head) and data.startswith(self.usual_head)
        if not is_usual:  # else `of` checked its size
            _check_jpeg_size(data, self.width, self.height)
        height, width = self.height // reduction, self.width // reduction
        if reduction == 1 or not self.smooth_tables:
            data = self.prefix + data
        elif is_usual:
            data = self._reduced_head + data[len(self.usual_head) :]
        else:
            data = self._reduced_prefix + _smoothed(data, self.smooth_tables)
        rgb: Rgb = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, min_factor=reduction, strict=True)
        return _of_size(rgb, width, height)


def _without_start(tile: bytes) -> bytes:
    """Return a JPEG stream without its start marker and JFIF segment, which may imply the wrong color space."""
    if not tile.startswith(START):
        raise ValueError("the tile is not a JPEG stream")
    return tile[4 + int.from_bytes(tile[4:6], "big") if tile[2:4] == JFIF else 2 :]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and end of the content of each segment of a JPEG stream, up to the frame header."""
    position = 0
    while data[position : position + 1] == b"\xff" and position + 4 <= len(data):
        kind, end = data[position + 1], position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        yield kind, position + 4, end
        if kind in FRAME_HEADERS:
            return
        position = end


def _check_jpeg_size(data: bytes, width: int, height: int) -> None:
    """Raise `ValueError` if the frame header of a JPEG stream has another size, before memory is reserved for it."""
    for kind, start, end in _segments(data):
        if kind in FRAME_HEADERS and start + 5 <= min(end, len(data)):
            own_height, own_width = struct.unpack_from(">HH", data, start + 1)
            _check_size(own_width, own_height, width, height)
            return
    raise ValueError("the JPEG stream has no readable frame header")


def _tables_of_halved_chroma(tile: bytes) -> frozenset[int]:
    """Return the quantization tables that only chroma uses, if chroma is stored at half the size; otherwise none."""
    data = _without_start(tile)
    for kind, start, _ in _segments(data):
        if kind in FRAME_HEADERS:
            components = data[start + 6 : start + 15]  # three of: name, sampling, table
            luma, *chroma = (tuple(components[offset : offset + 3]) for offset in (0, 3, 6))
            if luma[1:2] == (0x22,) and all(component[1:2] == (0x11,) for component in chroma):
                return frozenset(component[2] for component in chroma) - {luma[2]}
    return frozenset()


def _smoothed(data: bytes, numbers: frozenset[int]) -> bytes:
    """Return the segments of a JPEG stream with the quantization tables ``numbers`` changed for smoothing."""
    for kind, start, end in _segments(data):
        if kind == QUANTIZATION:
            data = data[:start] + _smoothed_tables(data[start:end], numbers) + data[end:]
    return data


@lru_cache(maxsize=64)
def _smoothed_tables(tables: bytes, numbers: frozenset[int]) -> bytes:
    out, position = bytearray(tables), 0
    while position < len(tables):
        width, number = 1 + (tables[position] >> 4), tables[position] & 15  # width: bytes per entry
        if number in numbers:
            dtype = np.dtype(f">u{width}")
            entries = np.frombuffer(tables, dtype, 64, position + 1)
            smooth = np.maximum(np.rint(entries * SMOOTHING), 1).astype(dtype)
            out[position + 1 : position + 1 + 64 * width] = smooth.tobytes()
        position += 1 + 64 * width
    return bytes(out)


@dataclass(frozen=True)
class Jpeg2000Codec:
    """JPEG 2000 with RGB components, decoded at full size by the OpenJPEG that OpenCV contains.

    The wavelet's low-pass band differs from the area mean by 3 to 6 gray levels on tissue. A filter
    with four taps per axis would reduce the difference to 1.5 on average and halve the decoding time,
    but only Pillow can decode that band alone, and it blocks all other threads meanwhile.
    """

    width: int
    height: int
    reductions: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        """Stop OpenCV from also printing the errors that `decode` raises."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return the tile."""
        _check_jpeg2000_size(data, self.width, self.height)
        if not data.endswith(END):  # OpenJPEG would accept a stream whose rest is zeros
            raise ValueError("the JPEG 2000 data are damaged or incomplete")
        bgr = cv2.imdecode(np.frombuffer(self._header + data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError("the JPEG 2000 data are damaged or incomplete")
        rgb: Rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return _of_size(rgb, self.width, self.height)

    @property
    def _header(self) -> bytes:
        """JP2 boxes that declare sRGB; OpenCV warns about tiles without them (bare codestreams)."""
        size = struct.pack(">IIHBBBB", self.height, self.width, 3, 7, 7, 0, 0)
        color = struct.pack(">BBBI", 1, 0, 0, 16)
        boxes = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        return boxes + _box(b"jp2h", _box(b"ihdr", size) + _box(b"colr", color)) + struct.pack(">I4s", 0, b"jp2c")


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _check_jpeg2000_size(data: bytes, width: int, height: int) -> None:
    """Raise `ValueError` if the header of a JPEG 2000 codestream has another size or number of components."""
    if len(data) < 51 or data[:4] != SIZE_2000:
        raise ValueError("the tile is not a JPEG 2000 codestream")
    right, bottom, left, top = struct.unpack(">4I", data[8:24])
    _check_size(right - left, bottom - top, width, height)
    if data[40:51] != b"\0\3" + 3 * b"\7\1\1":
        raise ValueError("the tile does not have three components of 8 bits and full size")


def _check_size(own_width: int, own_height: int, width: int, height: int) -> None:
    if (own_width, own_height) != (width, height):
        raise ValueError(f"the tile has {own_width} x {own_height} pixels instead of {width} x {height}")


def _of_size(rgb: Rgb, width: int, height: int) -> Rgb:
    _check_size(rgb.shape[1], rgb.shape[0], width, height)
    return rgb
