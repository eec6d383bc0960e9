"""The output folder of a stage: claimed for one set of settings, its summary table kept up to date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError, ChangedSettingsError
from pipelines.core.files import remove_leftovers, replacing
from pipelines.core.locks import LEASE_SECONDS, item_lock
from pipelines.core.provenance import Provenance
from pipelines.core.tables import TableArtifact

CLAIM = "five.json"


def claim_folder(folder: Path, made_by: str, provenance: Provenance, *, overwrite: bool = False) -> None:
    """Mark ``folder`` as the output of one stage with one set of settings.

    Called before the first item, so that a rerun with other settings is noticed even after
    a run that was killed. Artifacts in the folder are not touched: each bears its own
    fingerprint and is made anew where that differs. What killed runs left half written is
    removed.

    Raises
    ------
    ChangedSettingsError
        As `refuse_other_settings` does.
    ArtifactError
        The folder cannot be written.
    """
    refuse_other_settings(folder, made_by, provenance, overwrite=overwrite)
    claim = folder / CLAIM
    if claim.exists():
        remove_leftovers(folder)
    with replacing(claim) as part:
        record = {"made_by": made_by, "five_version": provenance.five_version, "settings": provenance.settings}
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def refuse_other_settings(folder: Path, made_by: str, provenance: Provenance, *, overwrite: bool = False) -> None:
    """Refuse a folder that `claim_folder` would refuse, without touching it.

    Raises
    ------
    ChangedSettingsError
        The folder holds another stage's output, or was made with other settings and
        ``overwrite`` is False. The message shows the difference.
    ArtifactError
        The mark is damaged.
    """
    if (folder / CLAIM).exists():
        earlier = read_claim(folder)
        if earlier["made_by"] != made_by:
            raise ChangedSettingsError(
                f"{folder}: this folder holds the output of `{earlier['made_by']}`", hint="choose another -o folder"
            )
        changed = difference(earlier["settings"], provenance.settings)
        if changed and not overwrite:
            raise ChangedSettingsError(
                f"{folder}: made with other settings: {changed}",
                hint="choose another -o folder, or pass --overwrite to make it anew",
            )


def read_claim(folder: Path) -> dict[str, Any]:
    """Return ``made_by``, ``five_version`` and ``settings`` of the stage that ``folder`` is the output of.

    Raises
    ------
    ArtifactError
        The mark is damaged.
    """
    claim = folder / CLAIM
    try:
        found = json.loads(claim.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("made_by", "five_version", "settings")}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{claim}: damaged", hint="delete it and run the stage again") from error


def difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return ``name was -> now`` for every setting that differs, or an empty string."""
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    return ", ".join(f"{name} {earlier.get(name)!r} -> {now.get(name)!r}" for name in names)


def update_table(
    artifact: TableArtifact, path: Path, rows: Iterable[Mapping[str, Any]], key: str, provenance: Provenance
) -> None:
    """Write ``rows`` to ``path``, keeping the rows of earlier and concurrent runs under other keys.

    Empty rows (items left to another process) are ignored.
    """
    with item_lock(path.parent / ".locks" / f"{path.name}.lock", wait=2 * LEASE_SECONDS) as mine:
        if not mine:
            raise ArtifactError(f"{path}: another process keeps it locked", hint="run again when that one has ended")
        merged: dict[Any, Mapping[str, Any]] = {}
        if path.exists():
            merged = {row[key]: row for row in artifact.read_rows(path)}
        merged.update({row[key]: row for row in rows if row})
        artifact.write(path, merged.values(), provenance)
