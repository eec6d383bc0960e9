"""Write JPEG images for visual checks, and captions in them."""

from __future__ import annotations

from pathlib import Path

import cv2
from PIL import Image, ImageDraw, ImageFont

from pipelines.core.files import replacing
from pipelines.slides.pixels import Rgb

JPEG_QUALITY = 85
TEXT_HEIGHT = 14
"""Text height of captions, pixels."""


class Captions:
    """Draws black text and color squares on an image."""

    def __init__(self, picture: Image.Image, text_height: int = TEXT_HEIGHT) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._font = ImageFont.load_default(text_height)  # OpenCV's own fonts are slow to load

    def width(self, text: str) -> int:
        """Return the width of a line of text, pixels."""
        return round(self._draw.textlength(text, self._font))

    def write(self, text: str, left: int, middle: int) -> None:
        """Write a line of text that starts at ``left`` and is vertically centered on ``middle``, pixels."""
        self._draw.text((left, middle), text, fill="black", font=self._font, anchor="lm")

    def swatch(self, color: tuple[int, int, int], left: int, middle: int, edge: int) -> None:
        """Draw a filled square that starts at ``left`` and is vertically centered on ``middle``, pixels."""
        self._draw.rectangle((left, middle - edge // 2, left + edge, middle + edge // 2), fill=color)


def write_picture(path: Path, rgb: Rgb | None) -> None:
    """Write ``rgb`` (H, W, 3) to ``path`` as JPEG, completely or not at all; None deletes an earlier image."""
    if rgb is None:
        path.unlink(missing_ok=True)
        return
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    with replacing(path) as part:
        # unlike write_bytes, cv2.imwrite does not report a full disk
        part.write_bytes(cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes())
