"""Stage ``five evaluate-descriptions``: agreement of descriptions with reference answers, per question and answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.descriptions_folder import ANSWERS_FILE, read_descriptions
from pipelines.core.errors import CohortError, SettingsError
from pipelines.core.files import replacing
from pipelines.core.metrics.agreement import Agreement, AnswerAgreement, compare
from pipelines.core.metrics.metric import Metric
from pipelines.core.questions import UNKNOWN, Question
from pipelines.core.settings import EvaluateDescriptionsSettings
from pipelines.reports.reference_answers import (
    FAILED,
    STATED,
    Given,
    Reference,
    given_answers,
    read_gold,
    read_other,
)

__all__ = ["EvaluateDescriptionsInputs", "EvaluateDescriptionsSettings", "evaluate_descriptions", "write_metrics"]


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
    """Inputs of `evaluate_descriptions`: a folder, and either a table or another folder to compare it with."""

    descriptions: Path
    """Folder of ``five describe-reports``."""
    gold: Path | None = None
    """Table of reference answers (CSV, Parquet, JSON, spreadsheet)."""
    other: Path | None = None
    """Second folder of ``five describe-reports`` about the same reports, for example of another backend."""


def evaluate_descriptions(
    inputs: EvaluateDescriptionsInputs, settings: EvaluateDescriptionsSettings
) -> DescriptionsEvaluation:
    """Compare the answers in a descriptions folder with a table of reference answers or with a second folder.

    The table has a column ``report_id``, or ``patient_id`` (several reports of a patient are then
    merged as in training), and one column per question, named by its id. Cells hold an answer of the
    question or ``unknown``; empty cells and words such as ``NA`` are not judged. For a phrase question, any words are
    allowed, and only whether the report says something is compared. A second folder is compared by ``report_id``, on
    the questions that have the same answers in both; reports that failed there are not judged.

    Raises
    ------
    SettingsError
        Neither a table nor a second folder is given, or both are.
    CohortError
        The table has no id column, no question column, an answer that the question does not
        allow, or no report that was described.
    ArtifactError
        A folder holds no descriptions, or its questions are not those that were asked.
    """
    question_set, answers = read_descriptions(inputs.descriptions)
    questions = question_set.questions
    reference = _read_reference(inputs, questions, settings)
    given = given_answers(answers, reference.key, questions)
    judged = [name for name in reference.words if name in given]
    if not judged:
        raise CohortError(
            f"{reference.source}: none of its {len(reference.words)} values of {reference.key} is among the"
            f" {len(given)} described ones",
            hint=f"name them as in {inputs.descriptions / ANSWERS_FILE}",
        )
    found = (_compare(question, judged, reference, given, settings) for question in questions)
    agreements = tuple(agreement for agreement in found if agreement is not None)
    if not agreements:
        columns = ", ".join(f"{settings.column_prefix}{question.id}" for question in questions)
        raise CohortError(
            f"{reference.source}: no reference answer to any question about any of the {len(given)} described ones",
            hint=f"it needs answers to {columns}; see --column-prefix",
        )
    return DescriptionsEvaluation(
        key=reference.key,
        questions=agreements,
        mean_accuracy=_mean(agreement.accuracy.value for agreement in agreements),
        mean_macro_f1=_mean(agreement.macro_f1.value for agreement in agreements),
        not_described=len(reference.words) - len(judged),
        not_judged=tuple(q.id for q in questions if q.id not in {agreement.question for agreement in agreements}),
    )


def _read_reference(
    inputs: EvaluateDescriptionsInputs, questions: Sequence[Question], settings: EvaluateDescriptionsSettings
) -> Reference:
    if inputs.gold is not None and inputs.other is None:
        return read_gold(inputs.gold, questions, settings.column_prefix)
    if inputs.other is not None and inputs.gold is None:
        return read_other(inputs.other, questions)
    raise SettingsError(
        "evaluate-descriptions: reference answers are needed from one source",
        hint="pass --gold with a table, or --other with a second folder of descriptions",
    )


def _compare(
    question: Question,
    judged: Sequence[str],
    reference: Reference,
    given: Mapping[str, Given],
    settings: EvaluateDescriptionsSettings,
) -> Agreement | None:
    names = [name for name in judged if question.id in reference.words[name]]
    if not names:
        return None
    return compare(
        question.id,
        [reference.words[name][question.id] for name in names],
        [given[name].words[question.id] for name in names],
        [given[name].patient for name in names],
        order=(*(question.answers or (STATED, UNKNOWN)), FAILED),
        unknown=UNKNOWN,
        no_answer=FAILED,
        resamples=settings.resamples,
        seed=settings.seed,
    )


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)


def write_metrics(evaluation: DescriptionsEvaluation, path: Path) -> Path:
    """Write one row per question to ``path``, and one row per answer beside it; return the path of the latter.

    The files are .csv or .parquet. Of ``metrics.csv``, the other is ``metrics.answers.csv``.

    Raises
    ------
    SettingsError
        The file has another suffix.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise SettingsError(f"{path}: neither .csv nor .parquet", hint="use one of these suffixes")
    by_answer = path.with_name(f"{path.stem}.answers{path.suffix}")
    _write(path, [_row(agreement) for agreement in evaluation.questions])
    _write(
        by_answer,
        [
            {"question": agreement.question, **_answer_row(answer)}
            for agreement in evaluation.questions
            for answer in agreement.answers
        ],
    )
    return by_answer


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    write = pyarrow.csv.write_csv if path.suffix == ".csv" else pyarrow.parquet.write_table
    with replacing(path) as part:
        write(pa.Table.from_pylist(rows), part)


def _row(agreement: Agreement) -> dict[str, Any]:
    names = ("question", "n", "n_patients", "majority", "unknown_in_reference", "unknown_given")
    row: dict[str, Any] = {name: getattr(agreement, name) for name in names}
    return row | _columns(agreement.accuracy) | _columns(agreement.macro_f1) | _columns(agreement.kappa)


def _answer_row(answer: AnswerAgreement) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(answer, name) for name in ("answer", "n_reference", "n_given")}
    return row | _columns(answer.precision) | _columns(answer.recall)


def _columns(metric: Metric) -> dict[str, Any]:
    return {metric.name: metric.value, f"{metric.name}_low": metric.low, f"{metric.name}_high": metric.high}
