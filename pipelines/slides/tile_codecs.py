"""Decode one compressed tile of a TIFF slide as OpenSlide would, or directly at a half or a quarter of its size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar, Protocol

import cv2
import numpy as np
import simplejpeg

from pipelines.slides.readers import Rgb

START, END = b"\xff\xd8", b"\xff\xd9"
"""Markers around every JPEG stream; JPEG 2000 ends with the same."""
JFIF = b"\xff\xe0"
"""Marker of the segment that makes libjpeg take the colours for YCbCr, whatever the TIFF says."""


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

    Where chroma is subsampled, reduced pixels take it as stored, while OpenSlide first
    interpolates it to the full size.
    """

    width: int
    height: int
    prefix: bytes
    """What precedes the segments of every tile: start, colour space, tables shared by all tiles."""
    reductions: ClassVar[tuple[int, ...]] = (4, 2, 1)

    @classmethod
    def of(cls, width: int, height: int, tables: bytes, *, is_rgb: bool) -> JpegCodec:
        """Return the codec for a level whose ``JPEGTables`` are ``tables`` (empty if there are none).

        The TIFF directory alone says whether the tiles hold RGB or YCbCr; libjpeg learns it
        from an Adobe segment.
        """
        adobe = struct.pack(">2sH5sHHHB", b"\xff\xee", 14, b"Adobe", 100, 0, 0, 0 if is_rgb else 1)
        return cls(width, height, START + adobe + tables.removeprefix(START).removesuffix(END))

    def decode(self, data: bytes, reduction: int) -> Rgb:
        """Return the tile; what libjpeg would only warn of and fill with grey is an error too."""
        if not data.startswith(START):
            raise ValueError("the tile is not a JPEG stream")
        begin = 4 + int.from_bytes(data[4:6], "big") if data[2:4] == JFIF else 2
        height, width = self.height // reduction, self.width // reduction
        rgb: Rgb = simplejpeg.decode_jpeg(
            self.prefix + data[begin:], min_height=height, min_width=width, min_factor=reduction, strict=True
        )
        return _of_size(rgb, width, height)


@dataclass(frozen=True)
class Jpeg2000Codec:
    """JPEG 2000 with RGB components by OpenJPEG, as OpenCV ships it; always the full size.

    The wavelet's low-pass band is sharper than the area mean (by 3 to 6 grey levels on
    tissue), so reduced decoding would give other pixels than the reference.
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
