"""Write matplotlib figures to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(figure: Figure, path: Path, *, dpi: int) -> None:
    """Write ``figure`` to ``path``, completely or not at all; the suffix decides the format.

    Raises
    ------
    ArtifactError
        The disk is full, or the folder is not writable.
    """
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi, format=path.suffix.removeprefix("."))
    with replacing(path) as part:
        part.write_bytes(picture.getvalue())  # Pillow itself does not report a disk that fills up while it writes
