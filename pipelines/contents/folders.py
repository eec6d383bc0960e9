"""Describe the output folder of a command."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pipelines.contents.contents import CAN_BE, Contents
from pipelines.contents.tables import table_contents
from pipelines.core.artifact_folders import FOLDERS
from pipelines.core.errors import ArtifactError
from pipelines.core.files import LEFTOVER
from pipelines.core.folder import CLAIM, read_claim
from pipelines.core.locks import LEASE_SECONDS
from pipelines.core.run_manifest import MANIFEST, RunManifest

SUMMARIES = tuple(dict.fromkeys(file.pattern for folder in FOLDERS for file in folder.files if file.is_summary))
"""Names of the tables that describe a whole folder; any other table belongs to one slide."""


def folder_contents(path: Path) -> Contents:
    """Describe an output folder: the command and settings that made it, its files, counts of its summary tables.

    Raises
    ------
    ArtifactError
        ``path`` is not an output folder, or its ``five.json`` or a summary table is damaged.
    """
    if not (path / CLAIM).is_file():
        raise ArtifactError(f"{path}: not an output folder of five (it has no {CLAIM})", hint=CAN_BE)
    facts = read_claim(path)
    settings = facts.pop("settings")
    if (path / MANIFEST).is_file():
        manifest = RunManifest.read(path)
        wrong = [f"{name} ({problem})" for name in manifest.files if (problem := manifest.problem(name))]
        facts["files_of_the_run"] = "; ".join(wrong) or "complete"
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
    """Return count and size of the files by extension, and totals with the numbers of locks and temporary files."""
    kinds: dict[str, dict[str, Any]] = {}
    held = abandoned = temporary = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(root, name).stat()
            except FileNotFoundError:  # a running command has just removed a lock or temporary file
                continue
            if Path(root).name == ".locks":
                is_held = time.time() - status.st_mtime <= LEASE_SECONDS
                held, abandoned = held + is_held, abandoned + (not is_held)
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
        "locks_held": held,
        "locks_abandoned": abandoned,
        "temporary_files": temporary,
    }
