"""The summary table of ``five tile``: make it again if it is damaged, and remove slides that are gone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError
from pipelines.core.folder import update_table
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.table_writer import mend_table
from pipelines.core.tiled_slide import tiled_row


def prepare_table(table: Path, provenance: Provenance, listed: Collection[str], folder: Path | None) -> dict[str, int]:
    """Remove the rows of slides that are gone, and return facts about the rows that are not in the input.

    A slide is gone if it is not in the input and (a) its file lies below the input folder, or (b) its
    file no longer exists while the folder of the file does. All other rows stay: runs on other
    slides may share the table.

    Parameters
    ----------
    table
        ``slides.parquet`` of the output folder; it may be missing.
    listed
        Ids of all slides of the input, before a cohort table or a shard narrows the choice.
    folder
        The input, if it is a folder.
    """
    mend_table(TILED_SLIDES, table, provenance, lambda: _recorded_rows(table.parent))
    if not table.exists():
        return {}
    rows = TILED_SLIDES.read(table, columns=["slide_id", "path"]).to_pylist()
    others = [row for row in rows if row["slide_id"] not in set(listed)]
    gone = {row["slide_id"] for row in others if _is_below(row["path"], folder)} | _without_file(others)
    if gone:
        update_table(TILED_SLIDES, table, [], "slide_id", provenance, keep=lambda row: row["slide_id"] not in gone)
    facts = {"slides_gone": len(gone), "other_slides_in_the_table": len(others) - len(gone)}
    return {name: number for name, number in facts.items() if number}


def _recorded_rows(out: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows that the tile tables below ``out`` contain."""
    for table in sorted(out.rglob("[!.]*.parquet")):
        with suppress(ArtifactError):
            row = tiled_row(table)
            if "tiles_fingerprint" in row:
                yield row


def _is_below(path: str | None, folder: Path | None) -> bool:
    if not path or folder is None:
        return False
    own, top = (Path(os.path.normpath(Path(each).absolute())) for each in (path, folder))  # symbolic links stay
    return own.is_relative_to(top)


def _without_file(rows: list[dict[str, Any]]) -> set[str]:
    """Return the ids of the rows whose file is missing from an existing folder. Each folder is listed once."""
    names: dict[str, set[str] | None] = {}
    gone = set()
    for row in rows:
        if not row["path"]:
            continue
        folder, name = os.path.split(row["path"])
        if folder not in names:
            names[folder] = _names_in(folder)
        listing = names[folder]
        # the check of the file itself: file systems may spell a name in several ways
        if listing is not None and name not in listing and not Path(row["path"]).exists():
            gone.add(row["slide_id"])
    return gone


def _names_in(folder: str) -> set[str] | None:
    """Return the names in ``folder``; None if it cannot be listed, for example because it is not mounted."""
    try:
        return {path.name for path in Path(folder).iterdir()}
    except OSError:
        return None
