"""The files that make up one slide: more than one in some formats."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.dicom import series_uid
from pipelines.core.files import file_fingerprint, fingerprint

MIRAX, HAMAMATSU = (".mrxs",), (".vms", ".vmu")


def slide_files(path: Path) -> list[Path]:
    """Return the files of the slide at ``path``, ``path`` first; others lie in the same folder or below.

    A MIRAX slide has a folder of its name, a Hamamatsu one names its parts, and the files of
    a DICOM series are found by its number.
    """
    suffix = path.suffix.lower()
    if suffix in MIRAX:
        others = [part for part in path.with_suffix("").rglob("*") if part.is_file()]
    elif suffix in HAMAMATSU:
        others = _named_parts(path)
    elif (uid := series_uid(path)) is not None:
        others = [part for part in path.parent.iterdir() if part.is_file() and series_uid(part) == uid]
    else:
        others = []
    return [path, *sorted(set(others) - {path})]


def _named_parts(path: Path) -> list[Path]:
    """Return the files that the lines ``Key=name`` of a Hamamatsu index name."""
    lines = path.read_text(encoding="latin-1").splitlines()
    names = {Path(line.partition("=")[2].strip()).name for line in lines if "=" in line}
    return [path.parent / name for name in names if name and (path.parent / name).is_file()]


def slide_fingerprint(path: Path) -> str:
    """Return digits of the content of ``path`` and, where the slide has more files, of their names and sizes."""
    others = [(part.relative_to(path.parent).as_posix(), part.stat().st_size) for part in slide_files(path)[1:]]
    own = file_fingerprint(path)
    return fingerprint([own, others]) if others else own
