"""Describe a Parquet table that five wrote: columns, provenance, counts and first failures, but no report text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.contents.contents import CAN_BE, Contents, provenance_facts
from pipelines.core.errors import ArtifactError
from pipelines.core.json_text import parse_json
from pipelines.core.parquet_digest import read_checked
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
    "slide_answers": (("question_id", "answer", "preferred"),),
}
"""Table -> columns whose values are counted, alone or together; none of them contains report text."""
FIRST_FAILURES = 5
"""Number of failures that are listed."""
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
"""Properties of the slide that are shown for a table of tiles."""


def table_contents(path: Path) -> Contents:
    """Describe a Parquet table.

    Raises
    ------
    ArtifactError
        The file is damaged, has no digest, was not written by five, or has another schema version.
    """
    content = read_checked(path, "the command that wrote it")
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
    notes = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()}
    artifact = next((table for table in TABLES if table.name == notes.get("five.schema")), None)
    if artifact is None:
        raise ArtifactError(f"{path}: a Parquet table that this version of five does not write", hint=CAN_BE)
    provenance = Provenance.from_attributes(notes)
    facts = {
        "version": int(notes.get("five.schema_version", 0)),
        "made_by": artifact.made_by,
        "rows": n_rows,
        **provenance_facts(provenance),
    }
    row = parse_json(notes.get(ROW_NOTE, "{}"))
    facts |= {name: row[name] for name in TILED_FACTS if artifact.name == "tiles" and name in row}
    columns = [
        {
            "column": field.name,
            "type": _type_name(field.type),
            "meaning": (field.metadata or {}).get(b"meaning", b"").decode(),
        }
        for field in schema
    ]
    lists = {"columns": columns, **_highlights(artifact, path)}
    return Contents(str(path), f"table {artifact.name}", facts, _counts(artifact, path), lists, provenance.settings)


def _counts(artifact: TableArtifact, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of `Contents.counts` for the columns in `COUNTED`."""
    groups = COUNTED.get(artifact.name, ())
    table = artifact.read(path, columns=sorted({name for group in groups for name in group}) or None)
    counts = {}
    for group in groups:
        # as text, because Arrow cannot group by a dictionary that differs between row groups
        keys = pa.table({name: table[name].cast(pa.string()) for name in group})
        rows = keys.group_by(list(group)).aggregate([([], "count_all")]).rename_columns([*group, "n"]).to_pylist()
        counts[" and ".join(group)] = sorted(rows, key=lambda row: [str(row[name]) for name in group])
    return counts


def _highlights(artifact: TableArtifact, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the first failures, or the last epoch of a table of metrics; empty for other tables."""
    names = artifact.schema.names
    if "error" in names:
        columns = [names[0], "error_type", "error"]
        rows = artifact.read(path, columns=[*columns, "status"]).to_pylist()
        failed = [{name: row[name] for name in columns} for row in rows if row["status"] == "failed"]
        return {"first_failures": failed[:FIRST_FAILURES]} if failed else {}
    if artifact.name == "metrics":
        rows = artifact.read_rows(path)
        last = max((row["epoch"] for row in rows), default=0)
        finite = ({**row, "value": row["value"] if math.isfinite(row["value"]) else None} for row in rows)
        return {"last_epoch": [row for row in finite if row["epoch"] == last]}
    return {}


def _type_name(kind: pa.DataType) -> str:
    return str(kind.value_type if pa.types.is_dictionary(kind) else kind)
