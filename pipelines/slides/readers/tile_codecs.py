"""Decode one compressed tile of a TIFF slide as OpenSlide would, or directly at a half or a quarter of its size."""

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
"""Markers around every JPEG stream; JPEG 2000 ends with the same."""
JFIF = b"\xff\xe0"
"""Marker of the segment that makes libjpeg take the colours for YCbCr, whatever the TIFF says."""

QUANTISATION, FRAME_HEADERS = 0xDB, frozenset((0xC0, 0xC1, 0xC2))
"""Kinds of JPEG segments."""
ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)
"""Row and column of the coefficients in the order of a quantisation table."""
_RESPONSE = 3 / 4 + np.cos(np.pi * np.arange(8) / 8) / 4
SMOOTHING = np.array([_RESPONSE[row] * _RESPONSE[column] for row, column in ZIGZAG])
"""What the kernel (1/8, 3/4, 1/8) along both axes multiplies each coefficient of an 8 x 8 DCT by."""


class TileCodec(Protocol):
    """Decodes the tiles of one level, all of the same size."""

    @property
    def reductions(self) -> tuple[int, ...]:
        """Factors by which tiles can be made smaller while they are decoded, largest first; 1 is the last."""

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return a tile of ``height / reduction`` x ``width / reduction`` pixels.

        Raises
        ------
        ValueError
            The data are damaged, incomplete, or of another size.
        """


@dataclass(frozen=True)
class JpegCodec:
    """JPEG by libjpeg-turbo; reduced by a smaller inverse DCT, which is the area mean but for rounding.

    Where chroma is stored at half the size (4:2:0), a reduced tile would have it as stored, while
    OpenSlide interpolates it to the full size: along each axis, the area mean then has 3/4 of a
    stored value and 1/8 of either neighbour. That smoothing multiplies each coefficient of the
    DCT by a number, and so does the quantisation table: reduced tiles are decoded with another
    table for chroma, at no cost.
    """

    width: int
    height: int
    prefix: bytes
    """What precedes the segments of every tile: start, colour space, tables shared by all tiles."""
    smooth_tables: frozenset[int]
    """Numbers of the quantisation tables to smooth with; empty where chroma has the full size."""
    usual_head: bytes = b""
    """Segments that nearly every tile begins with, as far as the frame header."""
    reductions: ClassVar[tuple[int, ...]] = (4, 2, 1)

    @classmethod
    def of(cls, width: int, height: int, tables: bytes, first: bytes, *, is_rgb: bool) -> JpegCodec:
        """Return the codec for a level whose ``JPEGTables`` are ``tables`` (empty if there are none).

        The TIFF directory alone says whether the tiles hold RGB or YCbCr; libjpeg learns it
        from an Adobe segment. How chroma is stored is read from the ``first`` tile.

        Raises
        ------
        ValueError
            ``first`` is no JPEG stream.
        """
        adobe = struct.pack(">2sH5sHHHB", b"\xff\xee", 14, b"Adobe", 100, 0, 0, 0 if is_rgb else 1)
        prefix = START + adobe + tables.removeprefix(START).removesuffix(END)
        smooth = frozenset() if is_rgb else _tables_of_halved_chroma(first)
        segments = _segments_of(first)
        return cls(width, height, prefix, smooth, segments[: max((end for *_, end in _segments(segments)), default=0)])

    @cached_property
    def _reduced_prefix(self) -> bytes:
        return START + _smoothed(self.prefix[len(START) :], self.smooth_tables)

    @cached_property
    def _reduced_head(self) -> bytes:
        return self._reduced_prefix + _smoothed(self.usual_head, self.smooth_tables)

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return the tile; what libjpeg would only warn of and fill with grey is an error too."""
        data = _segments_of(data)
        height, width = self.height // reduction, self.width // reduction
        if reduction == 1 or not self.smooth_tables:
            data = self.prefix + data
        elif data.startswith(self.usual_head):
            data = self._reduced_head + data[len(self.usual_head) :]
        else:
            data = self._reduced_prefix + _smoothed(data, self.smooth_tables)
        rgb: Rgb = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, min_factor=reduction, strict=True)
        return _of_size(rgb, width, height)


def _segments_of(tile: bytes) -> bytes:
    """Return a JPEG stream without its start and what might lie about its colours."""
    if not tile.startswith(START):
        raise ValueError("the tile is not a JPEG stream")
    return tile[4 + int.from_bytes(tile[4:6], "big") if tile[2:4] == JFIF else 2 :]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield kind, start and end of the contents of the segments of a JPEG stream as far as its frame header."""
    place = 0
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        kind, end = data[place + 1], place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield kind, place + 4, end
        if kind in FRAME_HEADERS:
            return
        place = end


def _tables_of_halved_chroma(tile: bytes) -> frozenset[int]:
    """Return the quantisation tables of chroma of half the size; none where that is not so, or luma uses them too."""
    data = _segments_of(tile)
    for kind, start, _ in _segments(data):
        if kind in FRAME_HEADERS:
            components = data[start + 6 : start + 15]  # three of: name, sampling, table
            luma, *chroma = (tuple(components[place : place + 3]) for place in (0, 3, 6))
            if luma[1:2] == (0x22,) and all(part[1:2] == (0x11,) for part in chroma):
                return frozenset(part[2] for part in chroma) - {luma[2]}
    return frozenset()


def _smoothed(data: bytes, numbers: frozenset[int]) -> bytes:
    """Return the segments of a JPEG stream with the quantisation tables ``numbers`` smoothed."""
    for kind, start, end in _segments(data):
        if kind == QUANTISATION:
            data = data[:start] + _smoothed_tables(data[start:end], numbers) + data[end:]
    return data


@lru_cache(maxsize=64)
def _smoothed_tables(tables: bytes, numbers: frozenset[int]) -> bytes:
    out, place = bytearray(tables), 0
    while place < len(tables):
        width, number = 1 + (tables[place] >> 4), tables[place] & 15  # bytes of an entry
        if number in numbers:
            kind = np.dtype(f">u{width}")
            entries = np.frombuffer(tables, kind, 64, place + 1)
            smooth = np.maximum(np.rint(entries * SMOOTHING), 1).astype(kind)
            out[place + 1 : place + 1 + 64 * width] = smooth.tobytes()
        place += 1 + 64 * width
    return bytes(out)


@dataclass(frozen=True)
class Jpeg2000Codec:
    """JPEG 2000 with RGB components by OpenJPEG, as OpenCV ships it; always the full size.

    The wavelet's low-pass band is no area mean (3 to 6 grey levels from it on tissue). A filter of four
    taps per axis would bring it to within 1.5 on average and halve the decoding time, but of the
    libraries at hand only Pillow decodes that band alone, and it keeps all other threads from running
    meanwhile.
    """

    width: int
    height: int
    reductions: ClassVar[tuple[int, ...]] = (1,)

    def __post_init__(self) -> None:
        """Keep OpenCV from writing to stderr what `decode` raises."""
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return the tile; OpenJPEG itself takes a stream whose rest is zero for whole."""
        if not data.endswith(END):
            raise ValueError("the JPEG 2000 data are damaged or incomplete")
        bgr = cv2.imdecode(np.frombuffer(self._header + data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise ValueError("the JPEG 2000 data are damaged or incomplete")
        rgb: Rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        return _of_size(rgb, self.width, self.height)

    @property
    def _header(self) -> bytes:
        """JP2 boxes that declare sRGB; tiles are bare codestreams, of which OpenCV warns each time."""
        size = struct.pack(">IIHBBBB", self.height, self.width, 3, 7, 7, 0, 0)
        colour = struct.pack(">BBBI", 1, 0, 0, 16)
        boxes = _box(b"jP  ", b"\r\n\x87\n") + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        return boxes + _box(b"jp2h", _box(b"ihdr", size) + _box(b"colr", colour)) + struct.pack(">I4s", 0, b"jp2c")


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _of_size(rgb: Rgb, width: int, height: int) -> Rgb:
    if rgb.shape != (height, width, 3):
        raise ValueError(f"the tile has {rgb.shape[1]} x {rgb.shape[0]} pixels instead of {width} x {height}")
    return rgb
