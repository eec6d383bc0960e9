"""Render docs/artifacts.md from the declared schemas: ``python docs/render_artifacts.py``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from pipelines.core.feature_file import CoordsAttributes, FeatureInfo
from pipelines.core.schemas import TABLES
from pipelines.core.tables import TableArtifact

FILES = {
    "tiled_slides": "tiles/slides.parquet",
    "tiles": "tiles/<slide_id>.parquet",
    "embedded_slides": "features/slides.parquet",
    "described_reports": "descriptions/reports.parquet",
    "answers": "descriptions/answers.parquet",
    "splits": "run/splits.parquet",
    "metrics": "run/metrics.parquet",
    "predictions": "predictions/predictions.parquet",
    "patient_predictions": "predictions/patients.parquet",
}
INTRODUCTION = """\
# Artifacts: the files between stages

<!-- Rendered from pipelines/core by `make docs`; a test holds it up to date. -->

Every artifact carries the name and version of its schema, the version of the program, the settings as
JSON, a fingerprint of the settings and a fingerprint of its input: as Parquet metadata (`five.*`) or as
attributes of the HDF5 root. Every folder holds a `five.json` with the settings it was made with. Files
appear whole or not at all. All coordinates are pixels at level 0, x before y, of the top-left corner.
"""
FEATURES = """\
## features/<slide_id>.h5

Written by `five embed`. HDF5, readable as it is by TRIDENT, CLAM, TITAN and CONCH.

| dataset | shape, type | meaning |
| --- | --- | --- |
| `features` | (N, D) float16 or float32 | one row a tile |
| `coords` | (N, 2) int64 | x, y of the top-left corner, pixels at level 0 |
"""
OTHERS = """\
## Other files

| file | written by | content |
| --- | --- | --- |
| `tiles/tissue/<slide_id>.geojson` | `five tile` | tissue outlines, level-0 pixels; QuPath opens it |
| `tiles/qc/<slide_id>.jpg` | `five tile` | overview: outlines, kept tiles, dropped tiles by reason |
| `tiles/qc/<slide_id>.dropped.jpg` | `five tile` | faulty tiles by reason, with their scores; none without faults |
| `descriptions/questions.yaml` | `five describe-reports` | the questions as asked |
| `run/config.yaml`, `run/model.safetensors` | `five train` | the model: its configuration and its weights |
| `run/questions.yaml`, `run/classes.yaml` | `five train` | the prompts of the model and the class texts, if any |
| `predictions/attention/<slide_id>.h5` | `five predict` | `attention` (P, N), rows sum to 1; `prompts`, `coords` |
| `predictions/heatmaps/<slide_id>/` | `five predict` | attention over the slide, a picture a prompt |
| `<folder>/errors/<id>.txt` | every stage | traceback of an item that failed |
| `<folder>/.locks/` | every stage | locks of items in work; empty when nothing runs |
"""


def table_section(table: TableArtifact) -> str:
    """Return the section of one Parquet table."""
    lines = [f"## {FILES[table.name]}", "", f"Table `{table.name}` version {table.version}, by `{table.made_by}`.", ""]
    lines += ["| column | type | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{f.name}` | {kind(f)} | {meaning(f)} |" for f in table.columns]
    lines += [f"| `{prefix}<name>` | {kind(f)} | {meaning(f)} |" for prefix, f in (table.families or {}).items()]
    return "\n".join(lines) + "\n"


def kind(field: object) -> str:
    """Return the type of a column in one word."""
    text = str(field.type)  # type: ignore[attr-defined]
    return "dictionary of string" if text.startswith("dictionary") else text


def meaning(field: object) -> str:
    """Return what a column means, safe inside a Markdown table."""
    return field.metadata[b"meaning"].decode().replace("|", "\\|")  # type: ignore[attr-defined]


def attributes_section() -> str:
    """Return the attributes of a feature file."""
    root = ", ".join(f"`{f.name}`" for f in fields(FeatureInfo))
    coords = ", ".join(f"`{f.name}`" for f in fields(CoordsAttributes))
    return f"Attributes of the root: {root}, `five.*`.\nAttributes of `coords` (TRIDENT's names): {coords}.\n"


def render() -> str:
    """Return the whole page."""
    by_name = {table.name: table_section(table) for table in TABLES}
    sections = [INTRODUCTION, by_name["tiled_slides"], by_name["tiles"], FEATURES + "\n" + attributes_section()]
    sections += [by_name[name] for name in FILES if name not in ("tiled_slides", "tiles")]
    return "\n".join([*sections, OTHERS])


if __name__ == "__main__":
    Path(__file__).with_name("artifacts.md").write_text(render(), encoding="utf-8")
