"""Stage: pathology reports -> fine-grained, grounded descriptions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.cohort import read_cohort
from pipelines.core.errors import ReportError
from pipelines.core.files import file_fingerprint, fingerprint
from pipelines.core.folder import claim_folder
from pipelines.core.provenance import Provenance, five_version
from pipelines.core.questions import UNKNOWN, QuestionSet, load_questions, write_questions
from pipelines.core.schemas import ANSWERS, DESCRIBED_REPORTS
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.answers import Answer, failed, unknown
from pipelines.reports.backends import Backend, open_backend
from pipelines.reports.case import Case
from pipelines.reports.instructions import messages, prompt_fingerprint
from pipelines.reports.journal import Journal
from pipelines.reports.report_table import Report, read_reports

MADE_BY = "five describe-reports"
MAX_ATTEMPTS = 2
"""Requests for a report: one, and one more where a reply cannot be used as it is."""
CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly, for most tokenizers."""


def describe_reports(
    source: Path,
    out: Path,
    settings: DescribeReportsSettings,
    *,
    cohort: Path | None = None,
    limit: int | None = None,
    base_url: str | None = None,
    workers: int = 8,
    device: str = "auto",
    overwrite: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Answer the questions about every report and write the answers as tables to ``out``.

    A report that an earlier run described with the same settings, questions and text is
    kept. A run that is stopped keeps what it has, in the journal and in the tables.

    Parameters
    ----------
    cohort
        Describe only reports of the patients in this cohort table.
    limit
        Describe only the first so many reports.
    workers
        Requests on their way at a time (backend ``openai``).
    """
    reports = select_reports(source, cohort, limit)
    questions = load_questions(settings.questions)
    run = _Run(questions, settings, _provenance(source, settings, questions), out, len(reports))
    claim_folder(out, MADE_BY, run.provenance, overwrite=overwrite)
    write_questions(questions, out / "questions.yaml")
    with Journal(out / "journal.jsonl") as journal:
        try:
            todo = run.settle_without_asking(reports, journal, on_result)
            if todo:
                backend = open_backend(questions, settings, base_url=base_url, workers=workers, device=device)
                run.ask(todo, backend, journal, on_result)
        finally:
            run.write_tables(reports)
    return Summary(out, run.results(reports), run.figures())


def plan(
    source: Path,
    settings: DescribeReportsSettings,
    *,
    cohort: Path | None = None,
    limit: int | None = None,
) -> dict[str, int]:
    """Say what `describe_reports` would do, without a model and without writing.

    The tokens are an estimate of four characters each, the prompt of the questions counted
    for every report.
    """
    reports = select_reports(source, cohort, limit)
    questions = load_questions(settings.questions)
    asked = [report for report in reports if not report.is_empty]
    per_prompt = sum(len(message["content"]) for message in messages(questions, ""))
    characters = sum(len(report.text) + per_prompt for report in asked)
    return {
        "reports": len(reports),
        "empty_reports": len(reports) - len(asked),
        "reports_to_ask_about": len(asked),
        "characters_of_the_longest_report": max((len(report.text) for report in asked), default=0),
        "estimated_prompt_tokens": 0 if settings.backend == "rules" else characters // CHARACTERS_PER_TOKEN,
        "most_output_tokens": 0 if settings.backend == "rules" else len(asked) * settings.max_tokens,
    }


def select_reports(source: Path, cohort: Path | None = None, limit: int | None = None) -> list[Report]:
    """Read the reports to work on: all, or those of a cohort's patients, or the first ``limit``."""
    reports = read_reports(source)
    if cohort is not None:
        patients = {slide.patient for slide in read_cohort(cohort)}
        reports = [report for report in reports if report.patient_id in patients]
    return reports[:limit]


def _provenance(source: Path, settings: DescribeReportsSettings, questions: QuestionSet) -> Provenance:
    recorded = {**settings.as_dict(), "question_set": questions.fingerprint}
    return Provenance(recorded, file_fingerprint(source), five_version())


@dataclass
class _Run:
    """What is known of each report so far."""

    questions: QuestionSet
    settings: DescribeReportsSettings
    provenance: Provenance
    out: Path
    n_reports: int

    def __post_init__(self) -> None:
        self.records: dict[str, Mapping[str, Any]] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.prompt = prompt_fingerprint(self.questions)
        self.model = self.settings.model or self.settings.backend

    def settle_without_asking(self, reports: Sequence[Report], journal: Journal, on_result: OnResult) -> list[Report]:
        """Settle kept and empty reports; return the others."""
        todo = []
        for report in reports:
            kept = journal.current(report.report_id, self._work(report))
            if kept is not None:
                self._settle(report, kept, Outcome.KEPT, on_result)
            elif report.is_empty:
                answers = [unknown(question) for question in self.questions.questions]
                self._settle(report, self._record(report, "empty", answers), Outcome.EMPTY, on_result)
            else:
                todo.append(report)
        return todo

    def ask(self, reports: Sequence[Report], backend: Backend, journal: Journal, on_result: OnResult) -> None:
        """Describe ``reports``, a batch at a time; what a batch leaves open is asked once more."""
        self.model = backend.model
        attempts = 1 if backend.repeatable else MAX_ATTEMPTS
        for start in range(0, len(reports), backend.batch_size):
            todo = [Case(report, self.questions) for report in reports[start : start + backend.batch_size]]
            for attempt in range(1, attempts + 1):
                again = []
                for index, reply in backend.complete([case.request() for case in todo]):
                    case = todo[index]
                    case.take(reply)
                    if case.problem and attempt < attempts:
                        again.append(case)
                    else:
                        self._close(case, journal, on_result)
                todo = again
                if not todo:
                    break

    def _close(self, case: Case, journal: Journal, on_result: OnResult) -> None:
        try:
            answers = case.settle(self.settings.ungrounded)
        except ReportError as error:
            record = self._record(case.report, "failed", [failed(q) for q in self.questions.questions], case)
            record |= {"error_type": type(error).__name__, "error": error.message}
            self._settle(case.report, record, Outcome.FAILED, on_result)
            return
        record = self._record(case.report, "ok", answers, case)
        journal.append(record)
        self._settle(case.report, record, Outcome.DONE, on_result)

    def _settle(self, report: Report, record: Mapping[str, Any], outcome: Outcome, on_result: OnResult) -> None:
        self.records[report.report_id] = record
        self.outcomes[report.report_id] = outcome
        on_result(Result(report.report_id, outcome, error=record.get("error") or "", total=self.n_reports))

    def _record(
        self, report: Report, status: str, answers: Sequence[Answer], case: Case | None = None
    ) -> dict[str, Any]:
        return {
            "report_id": report.report_id,
            "patient_id": report.patient_id,
            "work": self._work(report),
            "status": status,
            "attempts": case.attempts if case else 0,
            "ungrounded": case.ungrounded if case else [],
            "model": self.model,
            "prompt_tokens": case.prompt_tokens if case else None,
            "output_tokens": case.output_tokens if case else None,
            "seconds": case.seconds if case else 0.0,
            "answers": [answer.as_row() for answer in answers],
        }

    def _work(self, report: Report) -> str:
        """Return the fingerprint of what the answers depend on: settings, questions, prompt, text."""
        text = hashlib.sha256(report.text.encode("utf-8", "replace")).hexdigest()
        return fingerprint([self.provenance.settings, self.prompt, report.patient_id, text])

    def write_tables(self, reports: Iterable[Report]) -> None:
        """Write answers and reports of everything settled so far, in the order of ``reports``."""
        records = [self.records[r.report_id] for r in reports if r.report_id in self.records]
        shared = {"backend": self.settings.backend, "prompt_fingerprint": self.prompt}
        described = [{**record, **shared} for record in records]
        answers = [
            {**answer, "report_id": record["report_id"], "patient_id": record["patient_id"]}
            for record in records
            for answer in record["answers"]
        ]
        columns = DESCRIBED_REPORTS.schema.names
        rows = [{name: row.get(name) for name in columns} for row in described]
        ANSWERS.write(self.out / "answers.parquet", answers, self.provenance)
        DESCRIBED_REPORTS.write(self.out / "reports.parquet", rows, self.provenance)

    def results(self, reports: Sequence[Report]) -> tuple[Result, ...]:
        """Return what became of each report."""
        return tuple(
            Result(name, self.outcomes[name], self.records[name], self.records[name].get("error") or "")
            for name in (report.report_id for report in reports)
        )

    def figures(self) -> dict[str, Any]:
        """Return the share of unknown answers and of quotes not found, by question, and the tokens spent."""
        done = [record for record in self.records.values() if record["status"] == "ok"]
        by_question = {name: {"unknown": 0, "ungrounded": 0} for name in self.questions.ids}
        for record in done:
            for answer in record["answers"]:
                by_question[answer["question_id"]]["unknown"] += answer["status"] == UNKNOWN
            for name in record["ungrounded"]:
                by_question[name]["ungrounded"] += 1
        shares = {
            name: {f"{key}_rate": round(count / max(len(done), 1), 4) for key, count in counts.items()}
            for name, counts in by_question.items()
        }
        tokens = {
            key: sum(record[key] or 0 for record in self.records.values()) for key in ("prompt_tokens", "output_tokens")
        }
        return {"questions": shares, **tokens}
