"""Files that belong to one slide; some formats use several."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.dicom import series_uid
from pipelines.core.errors import SlideError
from pipelines.core.files import file_fingerprint, fingerprint

MIRAX, HAMAMATSU = (".mrxs",), (".vms", ".vmu")


def slide_files(path: Path) -> list[Path]:
    """Return the files of the slide at ``path``, starting with ``path``; the others are in its folder or below.

    A MIRAX slide has a folder of the same name, a Hamamatsu index lists the other files, and
    DICOM files belong together if they have the same series UID.
    """
    suffix = path.suffix.lower()
    if suffix in MIRAX:
        others = [part for part in path.with_suffix("").rglob("*") if part.is_file()]
    elif suffix in HAMAMATSU:
        others = _listed_files(path)
    elif (uid := series_uid(path)) is not None:
        others = [part for part in path.parent.iterdir() if part.is_file() and series_uid(part) == uid]
    else:
        others = []
    return [path, *sorted(set(others) - {path})]


def _listed_files(path: Path) -> list[Path]:
    """Return the existing files among the values of the lines ``Key=value`` of a Hamamatsu index."""
    lines = path.read_text(encoding="latin-1").splitlines()
    names = {Path(line.partition("=")[2].strip()).name for line in lines if "=" in line}
    return [path.parent / name for name in names if name and _is_file(path.parent / name)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long, or contains characters that no file name has
        return False


def slide_fingerprint(path: Path) -> str:
    """Return a fingerprint of the content of ``path`` and of the names and sizes of the slide's other files.

    Raises
    ------
    SlideError
        A file is missing or cannot be read.
    """
    try:
        others = [(part.relative_to(path.parent).as_posix(), part.stat().st_size) for part in slide_files(path)[1:]]
        own = file_fingerprint(path)
    except OSError as error:
        raise SlideError(
            f"{path}: cannot be read: {error.strerror}",
            hint="check the cohort column 'path' and the permissions of the file",
        ) from error
    return fingerprint([own, others]) if others else own


def refuse_changed(path: Path, tiled: str) -> None:
    """Check that the slide at ``path`` still has the fingerprint ``tiled``, which it had when it was tiled.

    Raises
    ------
    SlideError
        The slide has changed, or cannot be read.
    """
    if slide_fingerprint(path) != tiled:
        raise SlideError(f"{path}: changed since it was tiled", hint="run `five tile` again")
