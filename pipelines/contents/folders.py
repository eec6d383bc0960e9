"""Contents of the output folder of a stage."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pipelines.contents.contents import CAN_BE, Contents
from pipelines.contents.tables import table_contents
from pipelines.core.errors import ArtifactError
from pipelines.core.files import LEFTOVER
from pipelines.core.folder import CLAIM, read_claim
from pipelines.core.locks import LEASE_SECONDS

SUMMARIES = tuple(
    f"{name}.parquet" for name in ("slides", "reports", "answers", "splits", "metrics", "predictions", "patients")
)
"""Tables of a whole folder; any other table in it belongs to one slide."""


def folder_contents(path: Path) -> Contents:
    """Return what the folder ``path`` holds: what made it, its files, and what its summary tables count.

    Raises
    ------
    ArtifactError
        Not the output folder of a stage, or its ``five.json`` or a summary table is damaged.
    """
    if not (path / CLAIM).is_file():
        raise ArtifactError(f"{path}: not the output folder of a stage (it has no {CLAIM})", hint=CAN_BE)
    facts = read_claim(path)
    settings = facts.pop("settings")
    files, totals = _files(path)
    counts: dict[str, Any] = {}
    lists: dict[str, Any] = {"files": files}
    for name in SUMMARIES:
        if (path / name).is_file():
            table = table_contents(path / name)
            counts |= {f"{name}: {by}": rows for by, rows in table.counts.items()}
            lists |= {f"{name}: {title}": rows for title, rows in table.lists.items() if title != "columns"}
    return Contents(str(path), "output folder", facts | totals, counts, lists, settings)


def _files(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return number and size of the files by extension, and the totals with locks and temporary files."""
    kinds: dict[str, dict[str, Any]] = {}
    locks = {True: 0, False: 0}
    temporary = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(root, name).stat()
            except FileNotFoundError:  # a lock or temporary file of a run that goes on
                continue
            if Path(root).name == ".locks":
                locks[time.time() - status.st_mtime <= LEASE_SECONDS] += 1
            elif LEFTOVER.search(name):
                temporary += 1
            else:
                suffix = Path(name).suffix
                key = name if name in (CLAIM, *SUMMARIES) else f"*{suffix}" if suffix else name
                kind = kinds.setdefault(key, {"files": key, "n": 0, "bytes": 0})
                kind["n"] += 1
                kind["bytes"] += status.st_size
    listed = [kinds[key] for key in sorted(kinds)]
    return listed, {
        "files": sum(kind["n"] for kind in listed),
        "bytes": sum(kind["bytes"] for kind in listed),
        "locks_held": locks[True],
        "locks_abandoned": locks[False],
        "temporary_files": temporary,
    }
