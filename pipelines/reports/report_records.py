"""Records of the reports described: lines of the journal, rows of the tables, and totals for the summary of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.answer_rates import answer_rates
from pipelines.core.errors import ReportError
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.questions import QuestionSet
from pipelines.core.schemas import ANSWERS, DESCRIBED_REPORTS
from pipelines.reports.answers import Answer, failed_answer, unknown_answer
from pipelines.reports.injection import addresses_a_model
from pipelines.reports.instructions import prompt_fingerprint
from pipelines.reports.report_table import Report
from pipelines.reports.report_task import ReportTask
from pipelines.reports.support import READING_VERSION

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recorder:
    """Makes the records of one run."""

    questions: QuestionSet
    settings: Mapping[str, Any]
    """What the answers depend on, apart from the prompt and the text."""
    model: str = ""
    """Name of the model, known once the backend is open."""

    @cached_property
    def prompt(self) -> str:
        """Fingerprint of the prompt for the language model."""
        return prompt_fingerprint(self.questions)

    def work_fingerprint(self, report: Report) -> str:
        """Return the fingerprint of everything the answers depend on: settings, questions, prompt, patient, text."""
        text = hashlib.sha256(report.text.encode("utf-8", "replace")).hexdigest()
        problem = [report.problem] if report.problem else []
        return fingerprint([READING_VERSION, self.settings, self.prompt, report.patient_id, text, *problem])

    def empty(self, report: Report) -> Record:
        """Return the record of a report without words."""
        return self._record(report, "empty", [unknown_answer(question) for question in self.questions.questions])

    def unreadable(self, report: Report) -> Record:
        """Return the record of a report whose file or row cannot be read."""
        return self._failure(report, f"{report.report_id}: {report.problem}")

    def described(self, task: ReportTask, answers: Sequence[Answer], wall_seconds: float) -> Record:
        """Return the record of a report that was described."""
        return self._record(task.report, "ok", answers, **_costs(task, wall_seconds))

    def failed(self, task: ReportTask, error: ReportError, wall_seconds: float) -> Record:
        """Return the record of a report that could not be described."""
        return self._failure(task.report, error.message, **_costs(task, wall_seconds))

    def _failure(self, report: Report, error: str, **costs: Any) -> Record:
        answers = [failed_answer(question) for question in self.questions.questions]
        return self._record(report, "failed", answers, **costs, error_type=ReportError.__name__, error=error)

    def _record(self, report: Report, status: str, answers: Sequence[Answer], **more: Any) -> Record:
        return {
            "report_id": report.report_id,
            "patient_id": report.patient_id,
            "work": self.work_fingerprint(report),
            "status": status,
            "backend": self.settings["backend"],
            "model": self.model or self.settings["model"] or self.settings["backend"],
            "asked_model": self.settings["model"],
            "votes": self.settings["votes"],
            "prompt_fingerprint": self.prompt,
            "addresses_model": addresses_a_model(report.text),
            "characters": len(report.text),
            "answers": [answer.as_row() for answer in answers],
            "attempts": 0,
            "n_parts": 1,
            "seconds": 0.0,
            **more,
        }


def _costs(task: ReportTask, wall_seconds: float) -> dict[str, Any]:
    return {
        "attempts": task.attempts,
        "n_parts": task.n_parts,
        "prompt_tokens": task.prompt_tokens,
        "output_tokens": task.output_tokens,
        "seconds": task.seconds,
        "wall_seconds": wall_seconds,
    }


def write_tables(folder: Path, records: Iterable[Record], provenance: Provenance) -> None:
    """Write the tables of answers and of reports, in the order of ``records``."""
    rows = list(records)
    answers = [
        {**answer, "report_id": record["report_id"], "patient_id": record["patient_id"]}
        for record in rows
        for answer in record["answers"]
    ]
    columns = DESCRIBED_REPORTS.schema.names
    ANSWERS.write(folder / "answers.parquet", answers, provenance)
    DESCRIBED_REPORTS.write(
        folder / "reports.parquet", [{name: row.get(name) for name in columns} for row in rows], provenance
    )


def run_totals(records: Iterable[Record], questions: Sequence[str], asked: Iterable[Record]) -> dict[str, Any]:
    """Return the rates of each question, counts of reports, and the tokens spent, for the summary of a run.

    Parameters
    ----------
    records
        Records of all reports. Rates are over those that were described; None if none was.
    questions
        Ids of the questions.
    asked
        Records of the reports that this run sent to the backend; tokens are summed over these.
    """
    every = list(records)
    described = [record for record in every if record["status"] == "ok"]
    answers = [answer for record in described for answer in record["answers"]]
    sent = list(asked)
    tokens = {key: sum(record.get(key) or 0 for record in sent) for key in ("prompt_tokens", "output_tokens")}
    return {
        "questions": {name: _rounded_rates([a for a in answers if a["question_id"] == name]) for name in questions},
        "reports_in_parts": sum(record["n_parts"] > 1 for record in described),
        "reports_that_address_a_model": sum(record["addresses_model"] for record in every),
        **tokens,
    }


def _rounded_rates(answers: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    rates = answer_rates(answers)
    named = {
        "unknown_rate": rates.unknown,
        "ungrounded_rate": rates.ungrounded,
        "conflict_rate": rates.conflict,
        "agreement": rates.agreement,
    }
    return {name: None if rate is None else round(rate, 4) for name, rate in named.items()}
