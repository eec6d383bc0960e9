"""Stage ``five describe-reports``: turn pathology reports into fine-grained descriptions, each with its quote."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines import __version__
from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.descriptions_folder import QUESTIONS_FILE, asked
from pipelines.core.errors import ArtifactError, ReportError
from pipelines.core.files import file_fingerprint, make_private_folder
from pipelines.core.folder import claim_folder, refuse_other_settings
from pipelines.core.locks import LEASE_SECONDS, item_lock
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions, write_questions
from pipelines.core.questions import QuestionSet
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.selection import EVERYTHING, Selection, Shard
from pipelines.core.settings import DescribeReportsSettings
from pipelines.findings.descriptions_report import FIRST_PAGE, write_descriptions_report
from pipelines.reports.ask_backend import ask_backend
from pipelines.reports.backends import open_backend
from pipelines.reports.estimate import Prices, estimate
from pipelines.reports.instructions import messages
from pipelines.reports.journal import Journal
from pipelines.reports.report_records import Record, Recorder, run_totals, write_tables
from pipelines.reports.report_table import Report, patients_fact
from pipelines.reports.report_task import ReportTask
from pipelines.reports.select_reports import read_selected, select

__all__ = ["DescribeReportsInputs", "DescribeReportsResources", "DescribeReportsSettings", "describe_reports", "plan"]

MADE_BY = "five describe-reports"


@dataclass(frozen=True)
class DescribeReportsInputs:
    """Inputs of `describe_reports`."""

    reports: Path
    """Table with ``report_id``, ``patient_id`` and ``text``, a document, or a folder of both; see `read_reports`."""


def describe_reports(
    inputs: DescribeReportsInputs,
    out: Path,
    settings: DescribeReportsSettings,
    *,
    selection: Selection = EVERYTHING,
    resources: DescribeReportsResources = DescribeReportsResources(),
    html: bool = False,
    on_result: OnResult = lambda _: None,
) -> Summary:
    """Answer the questions about every report and write the answers as tables to ``out``.

    A report that an earlier run described with the same settings, questions and text is kept. A
    run that is interrupted keeps its answers, in the journal and in the tables. Nothing is written
    before the backend has given its first reply. Only the owner may enter the folder and read its
    files, because they quote the reports; a folder that exists keeps its mode.

    Parameters
    ----------
    selection
        Reports to describe. The tables also keep the earlier answers of the others.
    html
        Write HTML pages that show the answers. They hold the text of the reports. Pages of an earlier
        run are updated in any case.

    Raises
    ------
    FiveError
        The reports, the questions or the backend cannot be used, or ``out`` belongs to other settings.
    """
    every = read_selected(inputs.reports, selection)
    run = _ReportRun(inputs.reports, out, settings, selection.shard, on_result)
    refuse_other_settings(out, MADE_BY, run.provenance, overwrite=selection.overwrite)
    with ExitStack() as stack, Journal(out, run.shard_name) as run.journal:
        chosen = select(every, selection, out)
        run.total = len(chosen)
        todo = run.settle_without_asking(chosen)
        if out.exists():
            run.lock(stack)  # before a model is loaded for nothing
        try:
            if todo:
                backend = open_backend(run.questions, settings, resources)
                run.start(backend.model)
                for task in ask_backend(todo, backend, run.questions, settings):
                    run.claim(stack, overwrite=selection.overwrite)
                    run.record(task)
                run.backend_facts = backend.facts
            run.claim(stack, overwrite=selection.overwrite)
        finally:
            if run.claimed:
                run.write_tables(every)
    asked = [record for name, record in run.records.items() if run.outcomes[name] in (Outcome.DONE, Outcome.FAILED)]
    totals = run_totals(run.records.values(), run.questions.ids, asked)
    facts = {**patients_fact(chosen), **run.backend_facts, **totals}
    if html or (out / FIRST_PAGE).exists():
        texts = {report.report_id: report.text for report in every}
        facts["page"] = str(write_descriptions_report(out, texts, run.questions)[0])
    return Summary(out, run.results(chosen), facts)


def plan(
    inputs: DescribeReportsInputs,
    out: Path,
    settings: DescribeReportsSettings,
    *,
    selection: Selection = EVERYTHING,
    prices: Prices | None = None,
) -> dict[str, Any]:
    """Return what `describe_reports` would do, without a model and without writing.

    Raises
    ------
    FiveError
        As `describe_reports` does before it loads a model.
    """
    run = _ReportRun(inputs.reports, out, settings, selection.shard)
    refuse_other_settings(out, MADE_BY, run.provenance, overwrite=selection.overwrite)
    with Journal(out, run.shard_name) as run.journal:
        chosen = select(read_selected(inputs.reports, selection), selection, out)
        todo = run.settle_without_asking(chosen)
        outcomes = list(run.outcomes.values())
        prompt = sum(len(message["content"]) for message in messages(run.questions, ""))
        return {
            "reports": len(chosen),
            **patients_fact(chosen),
            "empty_reports": outcomes.count(Outcome.EMPTY),
            "kept_reports": outcomes.count(Outcome.KEPT),
            "reports_that_cannot_be_read": outcomes.count(Outcome.FAILED),
            "reports_to_ask_about": len(todo),
            "characters_of_the_longest_report": max((len(report.text) for report in todo), default=0),
            **estimate(todo, settings, prompt, run.journal.records, prices or Prices()),
        }


class _ReportRun:
    """State of one run: the record and outcome of each report so far, and the files they go to."""

    journal: Journal

    def __init__(
        self,
        source: Path,
        out: Path,
        settings: DescribeReportsSettings,
        shard: Shard,
        on_result: OnResult = lambda _: None,
    ) -> None:
        self.out = out
        self.settings = settings
        self.on_result = on_result
        self.questions: QuestionSet = load_questions(settings.questions)
        recorded = asked(settings, self.questions)
        self.provenance = Provenance(recorded, file_fingerprint(source), __version__)
        self.recorder = Recorder(self.questions, recorded)
        self.shard_name = f"{shard.index}-of-{shard.count}" if shard.count > 1 else ""
        self.total = 0
        self.records: dict[str, Record] = {}
        self.outcomes: dict[str, Outcome] = {}
        self.backend_facts: Mapping[str, str] = {}
        self.claimed = False
        self._locked = False
        self._last = time.perf_counter()

    def settle_without_asking(self, reports: Sequence[Report]) -> list[Report]:
        """Record the reports that are kept, empty or cannot be read; return the others."""
        todo = []
        for report in reports:
            if report.problem:
                self._settle(self.recorder.unreadable(report), Outcome.FAILED)
                continue
            record = self.journal.current(report.report_id, self.recorder.work_fingerprint(report))
            if report.is_empty:
                self._settle(record or self.recorder.empty(report), Outcome.EMPTY)
            elif record is not None and record["status"] == "ok":
                self._settle(record, Outcome.KEPT)
            else:
                todo.append(report)
        return todo

    def start(self, model: str) -> None:
        """Record the loaded model and start the clock."""
        self.recorder = replace(self.recorder, model=model)
        self._last = time.perf_counter()

    def lock(self, stack: ExitStack) -> None:
        """Lock the journal against other runs of the same shard."""
        if self._locked:
            return
        make_private_folder(self.out)  # before the lock creates it
        if not stack.enter_context(item_lock(self.out / ".locks" / f"{self.journal.path.name}.lock")):
            raise ArtifactError(
                f"{self.out}: another run is describing reports into this folder",
                hint="wait for it, or give each run its own --shard",
            )
        self._locked = True

    def claim(self, stack: ExitStack, *, overwrite: bool) -> None:
        """Claim the folder for this run, once."""
        if self.claimed:
            return
        self.lock(stack)
        claim_folder(self.out, MADE_BY, self.provenance, overwrite=overwrite, private=True)
        write_questions(self.questions, self.out / QUESTIONS_FILE, private=True)
        for record in self.records.values():
            if self.journal.current(record["report_id"], record["work"]) is None:
                self.journal.append(record)
        self.claimed = True

    def record(self, task: ReportTask) -> None:
        """Record a report whose conversations have ended."""
        now = time.perf_counter()
        wall, self._last = now - self._last, now
        try:
            record = self.recorder.described(task, task.final_answers(self.settings.ungrounded), wall)
        except ReportError as error:
            record = self.recorder.failed(task, error, wall)
        self.journal.append(record)
        self._settle(record, Outcome.DONE if record["status"] == "ok" else Outcome.FAILED)

    def _settle(self, record: Record, outcome: Outcome) -> None:
        name = record["report_id"]
        self.records[name] = record
        self.outcomes[name] = outcome
        self.on_result(Result(name, outcome, error=record.get("error") or "", total=self.total))

    def write_tables(self, every: Sequence[Report]) -> None:
        """Write the records of ``every`` report, from this, earlier and concurrent runs."""
        with item_lock(self.out / ".locks" / "tables.lock", wait=2 * LEASE_SECONDS) as mine:
            if not mine:
                raise ArtifactError(f"{self.out}: another process keeps the tables locked", hint="run again")
            self.journal.reload()
            current = (
                self.journal.current(report.report_id, self.recorder.work_fingerprint(report)) for report in every
            )
            write_tables(self.out, [record for record in current if record], self.provenance)

    def results(self, reports: Sequence[Report]) -> tuple[Result, ...]:
        """Return a result per report."""
        return tuple(
            Result(name, self.outcomes[name], self.records[name], error=self.records[name].get("error") or "")
            for name in (report.report_id for report in reports)
        )
