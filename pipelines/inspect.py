"""Stage ``inspect``: describe a slide, an artifact, or the output folder of a command.

The description identifies no patient and quotes no report. For a slide it contains geometry and resolution, but no
label or macro image and no free-text properties. For a table it contains counts and recorded failures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.contents import CAN_BE, Contents, folder_contents, geojson_contents, hdf5_contents, table_contents
from pipelines.core.cohort import SLIDE_SUFFIXES
from pipelines.core.errors import ArtifactError, MissingMppError, SlideError
from pipelines.core.files import file_fingerprint
from pipelines.slides import open_slide

__all__ = ["Contents", "inspect"]


def inspect(path: Path) -> Contents:
    """Return a description of the file or folder at ``path``.

    Raises
    ------
    SlideError
        The slide cannot be opened.
    ArtifactError
        The artifact is damaged, or the file is of another kind.
    """
    if path.is_dir():
        return folder_contents(path)
    try:
        with path.open("rb") as stream:
            magic = stream.read(8)
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror})", hint="check the path and its permissions"
        ) from error
    if magic[:4] == b"PAR1" or path.suffix == ".parquet":
        return table_contents(path)
    if magic == b"\x89HDF\r\n\x1a\n" or path.suffix in (".h5", ".hdf5"):
        return hdf5_contents(path)
    if path.suffix == ".geojson":
        return geojson_contents(path)
    return _slide(path)


def _slide(path: Path) -> Contents:
    try:
        opened = open_slide(path)
    except SlideError as error:
        if path.suffix.lower() in SLIDE_SUFFIXES:
            raise
        raise ArtifactError(f"{path}: not a slide, and not an artifact of five", hint=CAN_BE) from error
    with opened as slide:
        width, height = slide.dimensions
        facts: dict[str, Any] = {"format": slide.vendor, "width": width, "height": height}
        try:
            scale = slide.micron_scale
        except MissingMppError as error:
            mpp: float | None = None
            facts |= {"mpp": None, "mpp_problem": error.message.removeprefix(f"{path}: "), "mpp_remedy": error.hint}
        else:
            mpp = scale.mean
            facts |= {"mpp_x": scale.x, "mpp_y": scale.y, "mpp_source": scale.source, "mpp_conflict": scale.conflict}
        levels = [
            {"level": k, "width": w, "height": h, "downsample": down, "mpp": mpp * down if mpp else None}
            for k, ((w, h), down) in enumerate(zip(slide.level_dimensions, slide.level_downsamples, strict=True))
        ]
    facts |= {"file_bytes": path.stat().st_size, "fingerprint": file_fingerprint(path)}
    return Contents(str(path), "slide", facts, lists={"levels": levels})
