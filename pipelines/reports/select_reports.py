"""Selects the reports to describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.cohort import read_cohort
from pipelines.core.errors import CohortError
from pipelines.core.schemas import DESCRIBED_REPORTS
from pipelines.core.selection import Selection, failed_ids, only
from pipelines.reports.report_table import Report, read_reports


def read_selected(source: Path, selection: Selection) -> list[Report]:
    """Read the reports of the patients in ``selection.cohort``, or all reports without a cohort.

    Raises
    ------
    CohortError
        A table cannot be read, or no report belongs to a patient of the cohort.
    """
    reports = read_reports(source)
    if selection.cohort is None:
        return reports
    patients = {slide.patient for slide in read_cohort(selection.cohort)}
    selected = [report for report in reports if report.patient_id in patients]
    if not selected:
        raise CohortError(
            f"{selection.cohort}: none of its {len(patients)} patients has a report in {source}",
            hint="give the cohort a column patient_id with the patients of the reports",
        )
    return selected


def select(reports: Sequence[Report], selection: Selection, out: Path) -> list[Report]:
    """Return the reports to describe into ``out``: failed ones, the first N, a shard, as selected."""
    if selection.only_failed:
        reports = only(reports, failed_ids(DESCRIBED_REPORTS, out / "reports.parquet", "report_id"), "report_id")
    return selection.shard.of(reports[: selection.limit])
