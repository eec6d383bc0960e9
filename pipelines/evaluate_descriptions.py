"""Stage ``five evaluate-descriptions``: agreement of descriptions with reference answers, per question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.descriptions_folder import ANSWERS_FILE, read_descriptions
from pipelines.core.errors import CohortError, SettingsError
from pipelines.core.files import replacing
from pipelines.core.metrics.agreement import Agreement, compare
from pipelines.core.patient_answers import answers_by_patient
from pipelines.core.questions import UNKNOWN, Question
from pipelines.core.settings import EvaluateDescriptionsSettings
from pipelines.core.user_tables import canonical_columns, cell_text, warn_of_unused
from pipelines.reports.report_table import COLUMNS
from pipelines.reports.table_rows import read_table

__all__ = ["EvaluateDescriptionsInputs", "EvaluateDescriptionsSettings", "evaluate_descriptions", "write_metrics"]

STATED = "stated"
"""Category of any answer to a phrase question: only whether the report says something is compared."""
FAILED = "failed"
"""Category of a report that could not be described; it counts as a disagreement."""
KEYS: dict[str, tuple[str, ...]] = {name: COLUMNS[name] for name in ("report_id", "patient_id")}
"""Columns that may identify what was judged, in order of preference."""


@dataclass(frozen=True)
class DescriptionsEvaluation:
    """Result of `evaluate_descriptions`."""

    key: str
    """Whether answers were compared by ``report_id`` or by ``patient_id``."""
    questions: tuple[Agreement, ...]
    mean_accuracy: float
    mean_macro_f1: float
    not_described: int
    """Rows of the reference table without answers in the descriptions."""
    not_judged: tuple[str, ...]
    """Questions without a reference answer."""


@dataclass(frozen=True)
class EvaluateDescriptionsInputs:
    """Inputs of `evaluate_descriptions`."""

    descriptions: Path
    """Folder of ``five describe-reports``."""
    gold: Path
    """Table of reference answers (CSV, Parquet, JSONL)."""


def evaluate_descriptions(
    inputs: EvaluateDescriptionsInputs, settings: EvaluateDescriptionsSettings
) -> DescriptionsEvaluation:
    """Compare the answers in a descriptions folder with a table of reference answers.

    The table has a column ``report_id``, or ``patient_id`` (several reports of a patient are then
    merged as in training), and one column per question, named by its id. Cells hold an answer of the
    question or ``unknown``; empty cells and words such as ``NA`` are not judged. For a phrase question, any words are
    allowed, and only whether the report says something is compared.

    Raises
    ------
    CohortError
        The table has no id column, no question column, an answer that the question does not
        allow, or no report that was described.
    ArtifactError
        The folder holds no descriptions, or its questions are not those that were asked.
    """
    descriptions, gold = inputs.descriptions, inputs.gold
    question_set, answers = read_descriptions(descriptions)
    questions = question_set.questions
    wanted = {f"{settings.column_prefix}{question.id}": question for question in questions}
    key, rows = _read_gold(gold, list(wanted))
    given = _given(answers, key, questions)
    judged = [row for row in rows if row[key] in given]
    if not judged:
        raise CohortError(
            f"{gold}: none of its {len(rows)} values of {key} is among the {len(given)} described ones",
            hint=f"name them as in {descriptions / ANSWERS_FILE}",
        )
    agreements = []
    for column, question in wanted.items():
        agreement = _compare(question, column, judged, key, given, gold, settings)
        if agreement is not None:
            agreements.append(agreement)
    if not agreements:
        raise CohortError(
            f"{gold}: no reference answer to any question about any of the {len(given)} described ones",
            hint=f"add a column for each question: {', '.join(wanted)}; see --column-prefix",
        )
    return DescriptionsEvaluation(
        key=key,
        questions=tuple(agreements),
        mean_accuracy=_mean(agreement.accuracy.value for agreement in agreements),
        mean_macro_f1=_mean(agreement.macro_f1.value for agreement in agreements),
        not_described=len(rows) - len(judged),
        not_judged=tuple(q.id for q in questions if q.id not in {agreement.question for agreement in agreements}),
    )


def _read_gold(gold: Path, questions: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the id column (``report_id`` or ``patient_id``) and the rows: ids as text, and the ``questions``.

    Other columns are named in a warning of the log.
    """
    rows = read_table(gold)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    accepted = KEYS | {question: (question,) for question in questions}
    names = canonical_columns(columns, accepted, gold)
    key = next((name for name in KEYS if name in names), None)
    if key is None:
        raise CohortError(f"{gold}: no column report_id or patient_id", hint="add a column with the ids of the reports")
    warn_of_unused(columns, names, accepted, gold)
    rows = [{name: row.get(column) for name, column in names.items()} for row in rows]
    rows = [{**row, key: cell_text(row[key]) or ""} for row in rows]
    repeated = [name for name, times in Counter(row[key] for row in rows).items() if times > 1]
    if repeated:
        raise CohortError(f"{gold}: {key} {repeated[0]!r} appears twice", hint="give one row per id")
    return key, rows


@dataclass(frozen=True)
class _Given:
    """The answers for one report or patient."""

    patient: str
    words: Mapping[str, str]


def _given(rows: Sequence[Mapping[str, Any]], key: str, questions: Sequence[Question]) -> dict[str, _Given]:
    if key == "patient_id":
        merged = answers_by_patient(rows)
        failed = {row["patient_id"] for row in rows if row["status"] == FAILED}
        return {
            patient: _Given(
                patient,
                {
                    q.id: _word(merged.get(patient, {}).get(q.id), silent=FAILED if patient in failed else UNKNOWN)
                    for q in questions
                },
            )
            for patient in dict.fromkeys(row["patient_id"] for row in rows)
        }
    words: dict[str, dict[str, str]] = {}
    for row in rows:
        words.setdefault(row["report_id"], {})[row["question_id"]] = _word(row)
    patients = {row["report_id"]: row["patient_id"] for row in rows}
    return {name: _Given(patients[name], answers) for name, answers in words.items()}


def _word(row: Mapping[str, Any] | None, silent: str = UNKNOWN) -> str:
    """Return an answer as the reference table would write it."""
    if row is None:
        return silent
    return str(row["value"] or STATED) if row["status"] == "value" else str(row["status"])


def _compare(
    question: Question,
    column: str,
    rows: Sequence[Mapping[str, Any]],
    key: str,
    given: Mapping[str, _Given],
    gold: Path,
    settings: EvaluateDescriptionsSettings,
) -> Agreement | None:
    triples = []
    for row in rows:
        reference = _judged(row.get(column), question)
        if reference is None:
            continue
        answers = given[row[key]]
        where = f"{gold}: column {column} of {key} {row[key]!r}"
        triples.append((_reference(question, reference, where), answers.words[question.id], answers.patient))
    if not triples:
        return None
    references, words, patients = zip(*triples, strict=True)
    return compare(
        question.id,
        references,
        words,
        patients,
        order=(*(question.answers or (STATED, UNKNOWN)), FAILED),
        unknown=UNKNOWN,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _judged(cell: object, question: Question) -> str | None:
    """Return the text of a cell; None if nothing was judged. Words such as ``none`` may be answers of a question."""
    text = "" if cell is None else str(cell).strip()
    return text if text.lower() in question.answers else cell_text(cell)


def _reference(question: Question, text: str, where: str) -> str:
    """Return a reference answer as a category of the question. A wrong value is not shown: it may be report text."""
    word = text.lower()
    if not question.answers:
        return UNKNOWN if word == UNKNOWN else STATED
    if word not in question.answers:
        raise CohortError(
            f"{where}: not an answer to {question.id}",
            hint=f"use {', '.join(question.answers)}, or leave the cell empty where nothing was judged",
        )
    return word


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def write_metrics(evaluation: DescriptionsEvaluation, path: Path) -> None:
    """Write one row per question to ``path``, a .csv or .parquet file.

    Raises
    ------
    SettingsError
        The file has another suffix.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    writers = {".csv": pyarrow.csv.write_csv, ".parquet": pyarrow.parquet.write_table}
    if path.suffix not in writers:
        raise SettingsError(f"{path}: neither .csv nor .parquet", hint="use one of these suffixes")
    table = pa.Table.from_pylist([_row(agreement) for agreement in evaluation.questions])
    with replacing(path) as part:
        writers[path.suffix](table, part)


def _row(agreement: Agreement) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: getattr(agreement, name)
        for name in ("question", "n", "n_patients", "majority", "unknown_in_reference", "unknown_given")
    }
    for name in ("accuracy", "macro_f1", "kappa"):
        metric = getattr(agreement, name)
        row |= {name: metric.value, f"{name}_low": metric.low, f"{name}_high": metric.high}
    return row
