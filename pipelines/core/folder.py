"""The output folder of a stage: record its settings and update its summary table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.damage import cannot_read
from pipelines.core.errors import ArtifactError, ChangedSettingsError
from pipelines.core.files import make_private_folder, remove_leftovers
from pipelines.core.item_names import printable
from pipelines.core.json_text import is_unicode
from pipelines.core.locks import LEASE_SECONDS, item_lock, remove_dead_locks
from pipelines.core.provenance import Provenance
from pipelines.core.sealed_json import open_sealed, write_sealed
from pipelines.core.tables import TableArtifact

CLAIM = "five.json"
"""File that records the stage and settings of an output folder."""


def claim_folder(
    folder: Path, made_by: str, provenance: Provenance, *, overwrite: bool = False, private: bool = False
) -> None:
    """Record in ``folder`` which stage writes it and with which settings.

    Call this before the first item, so that a rerun with other settings is noticed even after a
    killed run. Existing artifacts are not changed: each has its own fingerprint and is made again
    if that differs. Temporary files of killed runs and locks of dead processes are removed.

    Parameters
    ----------
    private
        Only the owner may read the record, and enter the folder if this call creates it.

    Raises
    ------
    ChangedSettingsError
        See `refuse_other_settings`.
    ArtifactError
        The folder is not writable, or its record is damaged.
    """
    refuse_other_settings(folder, made_by, provenance, overwrite=overwrite)
    remove_leftovers(folder)
    remove_dead_locks(folder / ".locks")
    if private:
        make_private_folder(folder)
    record = {
        "made_by": made_by,
        "five_version": provenance.five_version,
        "settings": provenance.settings,
        "input_fingerprint": provenance.input_fingerprint,
    }
    write_sealed(folder / CLAIM, record, private=private)


def refuse_other_settings(folder: Path, made_by: str, provenance: Provenance, *, overwrite: bool = False) -> None:
    """Raise the errors of `claim_folder` without changing the folder.

    Raises
    ------
    ChangedSettingsError
        The folder contains the output of another stage, or was made with other settings and
        ``overwrite`` is False. The message lists the differences.
    ArtifactError
        The record is damaged, or the path of the folder is not UTF-8.
    """
    if not is_unicode(str(folder.absolute())):
        path = printable(str(folder.absolute()))
        raise ArtifactError(f"{path}: the name is not UTF-8", hint="choose another -o folder")
    if (folder / CLAIM).exists():
        earlier = read_claim(folder)
        if earlier["made_by"] != made_by:
            raise ChangedSettingsError(
                f"{folder}: this folder contains the output of `{earlier['made_by']}`", hint="choose another -o folder"
            )
        if not overwrite:
            refuse_difference(folder, earlier["settings"], provenance.settings)


def refuse_difference(folder: Path, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise a `ChangedSettingsError` that lists the differences if the settings of ``folder`` differ from ``now``."""
    changed = difference(earlier, now)
    if changed:
        raise ChangedSettingsError(
            f"{folder}: made with other settings: {changed}",
            hint="choose another -o folder, or pass --overwrite to redo the work",
        )


def read_claim(folder: Path) -> dict[str, Any]:
    """Return ``made_by``, ``five_version``, ``settings`` and ``input_fingerprint`` from the record of a folder.

    Raises
    ------
    ArtifactError
        The record is missing or damaged, or has no digest.
    """
    claim = folder / CLAIM
    try:
        record = open_sealed(claim.read_text(encoding="utf-8"))
        return {name: record[name] for name in ("made_by", "five_version", "settings", "input_fingerprint")}
    except OSError as error:
        raise cannot_read(claim, "the command that makes this folder", error) from error
    except (ValueError, KeyError) as error:
        raise ArtifactError(
            f"{claim}: damaged, or written by an earlier version of five", hint="delete it and run the command again"
        ) from error


def difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return ``name earlier -> now`` for every setting that differs, or an empty string."""
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    return ", ".join(f"{name} {earlier.get(name)!r} -> {now.get(name)!r}" for name in names)


@contextmanager
def table_lock(path: Path) -> Iterator[None]:
    """Hold the lock of the table at ``path``, under which it is read, changed and written.

    Raises
    ------
    ArtifactError
        Another process holds the lock for too long.
    """
    with item_lock(path.parent / ".locks" / f"{path.name}.lock", wait=2 * LEASE_SECONDS) as acquired:
        if not acquired:
            raise ArtifactError(f"{path}: locked by another process", hint="run again when that process has ended")
        yield


def update_table(
    artifact: TableArtifact,
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    key: str,
    provenance: Provenance,
    *,
    keep: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> None:
    """Write ``rows`` to ``path``, and keep rows of earlier and concurrent runs with other values of ``key``.

    Rows are sorted by ``key``, so that the table does not depend on the order in which items end.

    The table is read and written under a lock, so that concurrent runs do not lose each other's rows.

    Parameters
    ----------
    rows
        Empty rows (items left to another process) are ignored.
    keep
        Whether a row that is in the table already stays there.

    Raises
    ------
    ArtifactError
        Another process holds the lock of the table for too long, or the table cannot be read.
    """
    with table_lock(path):
        merged: dict[Any, Mapping[str, Any]] = {}
        if path.exists():
            merged = {row[key]: row for row in artifact.read_rows(path) if keep(row)}
        merged.update({row[key]: row for row in rows if row})
        artifact.write(path, [merged[name] for name in sorted(merged)], provenance)
