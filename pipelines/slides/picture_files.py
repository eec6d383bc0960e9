"""Open picture files that users give: only the expected formats, and only up to a size that fits in memory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

MAX_PIXELS = 178_956_970
"""Maximum number of pixels of a picture that is decoded as a whole; Pillow's own limit."""
MAX_EDGE = 2**18
"""Maximum width and height of a picture, pixels."""
UNREADABLE = (OSError, SyntaxError, ValueError)
"""What Pillow raises for a file that it cannot read."""


class TooManyPixelsError(Exception):
    """A picture has more than `MAX_PIXELS` pixels, or is longer than `MAX_EDGE`. The message gives its size."""


def open_picture(path: Path, formats: Sequence[str]) -> Image.Image:
    """Return the picture at ``path`` with its size known, but no pixel decoded.

    Parameters
    ----------
    formats
        Pillow's names of the allowed formats. Others are not tried: for some, Pillow starts another program.

    Raises
    ------
    TooManyPixelsError
        The picture has too many pixels.
    OSError, SyntaxError, ValueError
        The file has another format, or its header is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns at half its size limit, and about unknown metadata
            image = Image.open(path, formats=list(formats))
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"more than {MAX_PIXELS:,} pixels") from error
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise TooManyPixelsError(f"{image.width:,} x {image.height:,} pixels, more than {MAX_PIXELS:,}")
    if max(image.size) > MAX_EDGE:
        image.close()
        raise TooManyPixelsError(f"{image.width:,} x {image.height:,} pixels, an edge of more than {MAX_EDGE:,}")
    return image
