"""What is recorded of each report: the line of the journal, the rows of the tables, the figures of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.core.errors import ReportError
from pipelines.core.files import fingerprint
from pipelines.core.provenance import Provenance
from pipelines.core.questions import UNKNOWN, QuestionSet
from pipelines.core.schemas import ANSWERS, DESCRIBED_REPORTS
from pipelines.reports.answers import Answer, failed, unknown
from pipelines.reports.case import Case
from pipelines.reports.injection import addresses_a_model
from pipelines.reports.instructions import prompt_fingerprint
from pipelines.reports.report_table import Report

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recorder:
    """Makes the records of one run."""

    questions: QuestionSet
    settings: Mapping[str, Any]
    """What the answers depend on besides prompt and text."""
    model: str = ""
    """Name of the model, known when the backend is open."""

    @cached_property
    def prompt(self) -> str:
        """Fingerprint of what a language model is told."""
        return prompt_fingerprint(self.questions)

    def work(self, report: Report) -> str:
        """Return the fingerprint of what the answers depend on: settings, questions, prompt, text."""
        text = hashlib.sha256(report.text.encode("utf-8", "replace")).hexdigest()
        return fingerprint([self.settings, self.prompt, report.patient_id, text])

    def empty(self, report: Report) -> Record:
        """Return the record of a report without words."""
        return self._record(report, "empty", [unknown(question) for question in self.questions.questions])

    def described(self, case: Case, answers: Sequence[Answer], wall_seconds: float) -> Record:
        """Return the record of a report that was described."""
        return self._record(case.report, "ok", answers, **_spent(case, wall_seconds))

    def failed(self, case: Case, error: ReportError, wall_seconds: float) -> Record:
        """Return the record of a report that could not be described."""
        answers = [failed(question) for question in self.questions.questions]
        why = {"error_type": type(error).__name__, "error": error.message}
        return self._record(case.report, "failed", answers, **_spent(case, wall_seconds), **why)

    def _record(self, report: Report, status: str, answers: Sequence[Answer], **more: Any) -> Record:
        return {
            "report_id": report.report_id,
            "patient_id": report.patient_id,
            "work": self.work(report),
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


def _spent(case: Case, wall_seconds: float) -> dict[str, Any]:
    return {
        "attempts": case.attempts,
        "n_parts": case.n_parts,
        "prompt_tokens": case.prompt_tokens,
        "output_tokens": case.output_tokens,
        "seconds": case.seconds,
        "wall_seconds": wall_seconds,
    }


def write_tables(folder: Path, records: Iterable[Record], provenance: Provenance) -> None:
    """Write the answers and the reports of ``records``, in their order."""
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


def figures(records: Iterable[Record], questions: Sequence[str], asked: Iterable[Record]) -> dict[str, Any]:
    """Return rates by question over the reports described, and the tokens spent on those that were ``asked`` about.

    By question: the share of unknown answers, of quotes not found, of answers that parts of a
    report contradict, and the mean agreement of the samples (None with one sample). All are None
    where no report was described.
    """
    every = list(records)
    done = [record for record in every if record["status"] == "ok"]
    answers = [answer for record in done for answer in record["answers"]]
    rates = {name: _rates([a for a in answers if a["question_id"] == name]) for name in questions}
    spent = list(asked)
    tokens = {key: sum(record.get(key) or 0 for record in spent) for key in ("prompt_tokens", "output_tokens")}
    return {
        "questions": rates,
        "reports_in_parts": sum(record["n_parts"] > 1 for record in done),
        "reports_that_address_a_model": sum(record["addresses_model"] for record in every),
        **tokens,
    }


def _rates(answers: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    def share(n: int) -> float | None:
        return round(n / len(answers), 4) if answers else None

    agreements = [answer["agreement"] for answer in answers if answer["agreement"] is not None]
    return {
        "unknown_rate": share(sum(answer["status"] == UNKNOWN for answer in answers)),
        "ungrounded_rate": share(sum(not answer["grounded"] for answer in answers)),
        "conflict_rate": share(sum(answer["conflict"] is not None for answer in answers)),
        "agreement": round(sum(agreements) / len(agreements), 4) if agreements else None,
    }
