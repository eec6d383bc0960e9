"""Which of the reports of a source to work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.cohort import read_cohort
from pipelines.core.errors import CohortError
from pipelines.core.schemas import DESCRIBED_REPORTS
from pipelines.core.selection import Selection, failed_ids, only
from pipelines.reports.report_table import Report, read_reports


@dataclass(frozen=True)
class ReportSelection(Selection):
    """Which reports of the source to work on; all without a word."""

    limit: int | None = None
    """Only the first so many, before they are dealt to shards."""

    def read(self, source: Path) -> list[Report]:
        """Read the reports of the cohort's patients; all reports without a cohort.

        Raises
        ------
        CohortError
            A table cannot be read, or no report is of a patient of the cohort.
        """
        reports = read_reports(source)
        if self.cohort is None:
            return reports
        patients = {slide.patient for slide in read_cohort(self.cohort)}
        found = [report for report in reports if report.patient_id in patients]
        if not found:
            raise CohortError(
                f"{self.cohort}: none of its {len(patients)} patients has a report in {source}",
                hint="give the cohort a column patient_id with the patients of the reports",
            )
        return found

    def of(self, reports: Sequence[Report], out: Path) -> list[Report]:
        """Return the selected ones of the reports that `read` returned."""
        if self.only_failed:
            reports = only(reports, failed_ids(DESCRIBED_REPORTS, out / "reports.parquet", "report_id"), "report_id")
        return self.shard.of(reports[: self.limit])


EVERY_REPORT = ReportSelection()
