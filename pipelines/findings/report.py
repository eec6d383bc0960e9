"""Write an HTML page about a folder of predictions: probabilities, answers, settings and heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines import __version__
from pipelines.core.files import replacing
from pipelines.core.schemas import PREDICTIONS
from pipelines.core.slide_answers import preferred_answers

REPORT = "report.html"


def write_report(predictions: Path, *, facts: Mapping[str, Any], title: str = "Predictions") -> Path:
    """Write ``report.html`` into an output folder of ``five predict`` and return its path.

    The page needs no network and contains no script. It links to the images in ``heatmaps/``. All text is escaped.

    Parameters
    ----------
    facts
        Name -> value of facts about the run: its path, encoder, text model, class texts. The settings of
        ``five predict`` are added.

    Raises
    ------
    ArtifactError
        The folder has no readable ``predictions.parquet``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    table = predictions / "predictions.parquet"
    rows = PREDICTIONS.read_rows(table)
    settings = {name.replace("_", " "): value for name, value in PREDICTIONS.provenance(table).settings.items()}
    environment = Environment(
        loader=PackageLoader("pipelines.findings", ""), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template(REPORT).render(
        title=title,
        facts={name: _readable(value) for name, value in {**facts, **settings}.items()},
        classes=[name.removeprefix("prob_") for name in (rows[0] if rows else ()) if name.startswith("prob_")],
        slides=[_slide(number, row, predictions) for number, row in enumerate(rows)],
        questions=[answer["question_id"] for answer in preferred_answers(rows[0])] if rows else [],
        version=__version__,
    )
    with replacing(predictions / REPORT) as part:
        part.write_text(text, encoding="utf-8")
    return predictions / REPORT


def _slide(number: int, row: Mapping[str, Any], predictions: Path) -> dict[str, Any]:
    """Return a row with the values that the template needs: probabilities by class, anchor, link to the heatmap."""
    heatmap = f"heatmaps/{row['slide_id']}.jpg"
    return {
        **row,
        "anchor": f"slide-{number}",
        "probabilities": [(name.removeprefix("prob_"), p) for name, p in row.items() if name.startswith("prob_")],
        "answers": preferred_answers(row),
        "heatmap": quote(heatmap) if row["heatmap"] and (predictions / heatmap).exists() else None,
    }


def _readable(value: object) -> object:
    """Return a setting as people write it: yes, no or not set, and thousands with commas."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else value
