"""One HTML page about a folder of predictions: what was predicted, how, and where the model looked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines import __version__
from pipelines.core.files import replacing
from pipelines.core.schemas import PREDICTIONS

REPORT = "report.html"


def write_report(predictions: Path, *, facts: Mapping[str, Any], title: str = "Predictions") -> Path:
    """Write ``report.html`` into a folder of ``five predict`` and return its path.

    The page needs no network and holds no script; its pictures are links to those in
    ``heatmaps/`` beside it. All text is escaped, whatever slides and classes are called.

    Parameters
    ----------
    facts
        Name -> value of what the page says of how the predictions were made: run, encoder,
        text model, class texts... The settings of the stage are added.

    Raises
    ------
    ArtifactError
        The folder has no readable ``predictions.parquet``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    table = predictions / "predictions.parquet"
    rows = PREDICTIONS.read_rows(table)
    settings = {name.replace("_", " "): value for name, value in PREDICTIONS.provenance(table).settings.items()}
    pages = Environment(loader=PackageLoader("pipelines.findings", ""), autoescape=True, undefined=StrictUndefined)
    text = pages.get_template(REPORT).render(
        title=title,
        facts={**facts, **settings},
        classes=[name.removeprefix("prob_") for name in (rows[0] if rows else ()) if name.startswith("prob_")],
        slides=[_slide(number, row, predictions) for number, row in enumerate(rows)],
        version=__version__,
    )
    with replacing(predictions / REPORT) as part:
        part.write_text(text, encoding="utf-8")
    return predictions / REPORT


def _slide(number: int, row: Mapping[str, Any], predictions: Path) -> dict[str, Any]:
    """Return a row with its probabilities, its anchor in the page, and the link to its picture."""
    picture = f"heatmaps/{row['slide_id']}.jpg"
    return {
        **row,
        "anchor": f"slide-{number}",
        "probabilities": [(name.removeprefix("prob_"), p) for name, p in row.items() if name.startswith("prob_")],
        "heatmap": quote(picture) if (predictions / picture).exists() else None,
    }
