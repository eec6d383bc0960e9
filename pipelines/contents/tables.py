"""Contents of a Parquet table of ours: columns, provenance, counts, first failures; never report text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contents.contents import CAN_BE, Contents, provenance_facts
from pipelines.core.errors import ArtifactError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TABLES
from pipelines.core.tables import TableArtifact
from pipelines.core.tiled_slide import ROW_NOTE

COUNTED: dict[str, tuple[tuple[str, ...], ...]] = {
    "tiled_slides": (("status",), ("mpp_source",), ("vendor",)),
    "tiles": (("keep",), ("reason",)),
    "embedded_slides": (("status",), ("encoder",)),
    "described_reports": (("status",), ("backend",), ("model",)),
    "answers": (("question_id", "status"), ("grounded",)),
    "splits": (("split", "label"),),
    "predictions": (("split", "predicted"), ("split", "label")),
    "patient_predictions": (("split", "predicted"), ("split", "label")),
}
"""Columns whose values are counted, alone or by pairs; none of them holds report text."""
FIRST_FAILURES = 5
TILED_FACTS = (
    "slide_id",
    "status",
    "width",
    "height",
    "mpp_x",
    "mpp_y",
    "mpp_source",
    "mpp_conflict",
    "vendor",
    "tile_size",
    "target_mpp",
    "effective_mpp",
    "tile_size_level0",
)
"""What a table of tiles repeats of its slide."""


def table_contents(path: Path) -> Contents:
    """Return what the Parquet table ``path`` holds.

    Raises
    ------
    ArtifactError
        The file is damaged, not a table of ours, or of another version.
    """
    try:
        with pq.ParquetFile(path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(f"{path}: not a readable Parquet file", hint="it is damaged: make it again") from error
    notes = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    artifact = next((known for known in TABLES if known.name == notes.get("five.schema")), None)
    if artifact is None:
        raise ArtifactError(f"{path}: a Parquet table that this version of five does not write", hint=CAN_BE)
    provenance = Provenance.from_attributes(notes)
    facts = {
        "version": int(notes.get("five.schema_version", 0)),
        "made_by": artifact.made_by,
        "rows": n_rows,
        **provenance_facts(provenance),
    }
    row = json.loads(notes.get(ROW_NOTE, "{}"))
    facts |= {name: row[name] for name in TILED_FACTS if artifact.name == "tiles" and name in row}
    columns = [
        {
            "column": one.name,
            "type": _type_name(one.type),
            "meaning": (one.metadata or {}).get(b"meaning", b"").decode(),
        }
        for one in schema
    ]
    lists = {"columns": columns, **_highlights(artifact, path)}
    return Contents(str(path), f"table {artifact.name}", facts, _counts(artifact, path), lists, provenance.settings)


def _counts(artifact: TableArtifact, path: Path) -> dict[str, list[dict[str, Any]]]:
    groups = COUNTED.get(artifact.name, ())
    table = artifact.read(path, columns=sorted({name for group in groups for name in group}) or None)
    counts = {}
    for group in groups:
        # As text: groups over dictionaries that differ between row groups are refused by Arrow.
        keys = pa.table({name: table[name].cast(pa.string()) for name in group})
        rows = keys.group_by(list(group)).aggregate([([], "count_all")]).rename_columns([*group, "n"]).to_pylist()
        counts[" and ".join(group)] = sorted(rows, key=lambda row: [str(row[name]) for name in group])
    return counts


def _highlights(artifact: TableArtifact, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the first failures of a table that records them, and the last epoch of metrics."""
    names = artifact.schema.names
    if "error" in names:
        shown = [names[0], "error_type", "error"]
        rows = artifact.read(path, columns=[*shown, "status"]).to_pylist()
        failed = [{name: row[name] for name in shown} for row in rows if row["status"] == "failed"]
        return {"first_failures": failed[:FIRST_FAILURES]} if failed else {}
    if artifact.name == "metrics":
        rows = artifact.read_rows(path)
        last = max((row["epoch"] for row in rows), default=0)
        finite = ({**row, "value": row["value"] if math.isfinite(row["value"]) else None} for row in rows)
        return {"last_epoch": [row for row in finite if row["epoch"] == last]}
    return {}


def _type_name(kind: pa.DataType) -> str:
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind)
