"""Write HTML pages about described reports: the text with highlighted quotes beside the answers.

The pages contain the text of the reports and are as confidential as the reports.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from pipelines import __version__
from pipelines.core.answer_rates import answer_rates
from pipelines.core.files import replacing
from pipelines.core.questions import QuestionSet
from pipelines.core.schemas import ANSWERS, DESCRIBED_REPORTS

FIRST_PAGE = "report.html"
REPORTS_PER_PAGE = 100
CHARACTERS_PER_PAGE = 1_500_000
"""Maximum characters of report text per page (a single longer report gets its own page), so that browsers cope."""
ANY = "*"
"""Value of a filter that matches everything."""
STATUS_WORDS = {"ok": "described", "empty": "without text", "failed": "failed"}
"""Status of a report -> words on the page."""

Row = Mapping[str, Any]


def write_descriptions_report(folder: Path, texts: Mapping[str, str], questions: QuestionSet) -> list[Path]:
    """Write ``report.html``, and for many reports ``report-002.html`` and so on, into a folder of descriptions.

    The pages load nothing: styles and the script of the filters are part of each page. Every page shows the rates over
    all described reports and the number of reports on each page that match the filters. All text is escaped. Pages of
    an earlier run that are no longer needed are removed.

    Parameters
    ----------
    texts
        Report id -> text. Reports without a text here are left out.

    Returns
    -------
    The paths of the pages.

    Raises
    ------
    ArtifactError
        A table in the folder is missing or damaged.
    """
    reports = [row for row in DESCRIBED_REPORTS.read_rows(folder / "reports.parquet") if row["report_id"] in texts]
    answers: dict[str, list[Row]] = defaultdict(list)
    for row in ANSWERS.read_rows(folder / "answers.parquet"):
        answers[row["report_id"]].append(row)
    provenance = DESCRIBED_REPORTS.provenance(folder / "reports.parquet")
    pages = list(_pages(reports, texts))
    names = [FIRST_PAGE, *(f"report-{number:03d}.html" for number in range(2, len(pages) + 1))]
    all_answers = [answer for rows in answers.values() for answer in rows]
    described = [answer for row in reports if row["status"] == "ok" for answer in answers[row["report_id"]]]
    shared = {
        "questions": questions,
        "rates": [_rates(name, described) for name in questions.ids],
        "voted": any(answer["agreement"] is not None for answer in all_answers),
        "answer_words": sorted({_word(answer) for answer in all_answers}),
        "n_reports": len(reports),
        "statuses": Counter(row["status"] for row in reports),
        "status_words": STATUS_WORDS,
        "settings": {name.replace("_", " "): value for name, value in provenance.settings.items() if value != ""},
        "pages": [{"name": name, "matches": _matches(page, answers)} for name, page in zip(names, pages, strict=True)],
        "version": __version__,
    }
    template = _template()
    for name, page in zip(names, pages, strict=True):
        entries = [_entry(row, answers[row["report_id"]], texts[row["report_id"]]) for row in page]
        with replacing(folder / name, private=True) as part:
            part.write_text(template.render(name=name, reports=entries, **shared), encoding="utf-8")
    for stale in set(folder.glob("report-*.html")) - {folder / name for name in names}:
        stale.unlink()
    return [folder / name for name in names]


def _template() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("pipelines.findings", "")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "descriptions_report.html"
    )


def _pages(reports: Sequence[Row], texts: Mapping[str, str]) -> Iterator[list[Row]]:
    """Yield the reports of each page; one empty page if there are no reports."""
    page: list[Row] = []
    size = 0
    for row in reports:
        length = len(texts[row["report_id"]])
        if page and (len(page) == REPORTS_PER_PAGE or size + length > CHARACTERS_PER_PAGE):
            yield page
            page, size = [], 0
        page.append(row)
        size += length
    if page or not reports:
        yield page


def _word(answer: Row) -> str:
    """Return the answer as one word for the filters: its value, its status, or ``stated`` for a phrase."""
    return str(answer["value"] or "stated") if answer["status"] == "value" else str(answer["status"])


def _quote(answer: Row) -> str:
    """Return whether the quote was found and proves the answer, in the words of the filter."""
    if answer["status"] == "failed":
        return "none"
    if not answer["grounded"]:
        return "contradicted" if answer["support"] == "contradicted" else "not found"
    return "found" if answer["evidence"] is not None else "none"


def _rates(question: str, answers: Iterable[Row]) -> dict[str, Any]:
    rows = [a for a in answers if a["question_id"] == question]
    rates = answer_rates(rows)
    return {
        "question": question,
        "n": len(rows),
        "unknown": rates.unknown or 0.0,
        "ungrounded": rates.ungrounded or 0.0,
        "conflict": rates.conflict or 0.0,
        "agreement": rates.agreement,
        "answers": Counter(_word(a) for a in rows).most_common(),
    }


def _matches(page: Sequence[Row], answers: Mapping[str, Sequence[Row]]) -> dict[str, int]:
    """Return the number of reports on a page that match each setting of the filters.

    Keys are ``question|answer|quote``, each part possibly `ANY`.
    """
    counts: Counter[str] = Counter()
    for row in page:
        keys = set()
        for a in answers[row["report_id"]]:
            keys |= set(product((a["question_id"], ANY), (_word(a), ANY), (_quote(a), ANY)))
        counts.update("|".join(key) for key in keys)
    return dict(counts)


def _entry(report: Row, answers: Sequence[Row], text: str) -> dict[str, Any]:
    """Return a report with its numbered answers and its text cut into pieces, for the template."""
    rows = [
        {**answer, "number": number, "word": _word(answer), "quote": _quote(answer)}
        for number, answer in enumerate(answers, start=1)
    ]
    return {**report, "answers": rows, "pieces": _pieces(text, rows)}


def _pieces(text: str, answers: Sequence[Row]) -> list[tuple[str, list[int], list[int]]]:
    """Cut ``text`` at the start and end of each quote; quotes may overlap.

    Returns
    -------
    Consecutive pieces of the text. Each piece comes with two lists of answer numbers: answers whose quote includes the
    piece, and answers whose quote starts with it.
    """
    quotes = [(a["evidence_start"], a["evidence_end"], a["number"]) for a in answers if a["evidence_start"] is not None]
    cuts = sorted({0, len(text), *(start for start, _, _ in quotes), *(end for _, end, _ in quotes)})
    return [
        (
            text[left:right],
            [number for start, end, number in quotes if start <= left and right <= end],
            [number for start, _, number in quotes if start == left],
        )
        for left, right in pairwise(cuts)
    ]
