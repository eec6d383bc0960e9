"""Read pathology reports from a table, a document, or a folder of both."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import CohortError, ReportError
from pipelines.core.folder import CLAIM
from pipelines.core.user_tables import (
    PATIENT_NAMES,
    Names,
    canonical_columns,
    cell_text,
    is_missing,
    nearest_names,
    warn_of_unused,
)
from pipelines.reports.document_text import DOCUMENTS, OTHER_DOCUMENTS, read_document
from pipelines.reports.source_bytes import decode, is_packed, kind_of, read_file
from pipelines.reports.table_rows import EXTRA, SPREADSHEETS, TABLES, csv_header, read_table

COLUMNS: Names = {
    "report_id": ("report_id", "id", "report_name", "accession_number", "filename", "patient_filename"),
    "patient_id": PATIENT_NAMES,
    "text": ("text", "report", "report_text", "body"),
}
"""Columns of a table of reports."""
LONGEST_CELL = 32_767
"""Characters that a cell of a spreadsheet holds; spreadsheet programs cut longer text off without a word."""
MAX_FILES_SHOWN = 10
"""Maximum number of files named in a warning."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON and file names can hold but UTF-8 cannot."""
_TOKEN = re.compile(r"[^\W_]{2,}")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """One pathology report."""

    report_id: str
    patient_id: str
    text: str
    has_patient: bool = field(default=True, compare=False)
    """Whether the source names the patient; otherwise the report counts as one patient."""
    problem: str = ""
    """Why there is no text to describe, without words of the report; the report fails."""

    def __repr__(self) -> str:
        """Leave out the text, which is confidential."""
        return f"Report({self.report_id!r}, {len(self.text)} characters)"

    @property
    def is_empty(self) -> bool:
        """True if the text says nothing: no word, grade or stage, only numbers, redaction bars or ``NA``."""
        if self.problem:
            return False
        if is_missing(self.text):
            return True
        tokens = (token for token in _TOKEN.findall(self.text) if token.upper() != "REDACTED")
        return not any(character.isalpha() for token in tokens for character in token)


def read_reports(source: Path) -> list[Report]:
    """Read reports from a table (``report_id``, ``patient_id``, ``text``), a document, or a folder of both.

    Tables are CSV, Parquet, JSON, JSON Lines or spreadsheets; documents are text, PDF, Word or RTF files, one
    report each. Text files may be packed with gzip. Without a column ``patient_id``, each report counts as one
    patient. Columns and files that are not read are named in a warning of the log. Text is decoded as UTF-16 if it
    has a byte order mark, else as UTF-8, else as Windows-1252 (undefined bytes become U+FFFD). A row or file that
    cannot be read is a report with a `Report.problem`.

    Raises
    ------
    CohortError
        The source is missing or unreadable, has no text or id column, or an id appears twice; or the package that
        reads a file is not installed.
    """
    kind = kind_of(source)
    if source.is_dir():
        reports = _folder_reports(source)
    elif kind in OTHER_DOCUMENTS and source.is_file():
        raise CohortError(f"{source}: files of type {kind} are not read", hint=OTHER_DOCUMENTS[kind])
    elif kind in DOCUMENTS and source.is_file() and not _is_table(source):
        reports = [_document_report(source, source.parent)]
    else:
        reports = _table_reports(source)
    if not reports:
        raise CohortError(
            f"{source}: no reports found", hint="give a table, or a folder with .txt, .pdf or .docx files"
        )
    _refuse_duplicates(reports, source)
    return reports


def patients_fact(reports: Sequence[Report]) -> dict[str, str]:
    """Return a fact to show about reports without a patient; an empty mapping if each report has one."""
    without = sum(not report.has_patient for report in reports)
    if not without:
        return {}
    if without == len(reports):
        return {"patients": "one patient per report, because there is no column with patients"}
    return {"patients": f"{without} of {len(reports)} reports have no patient; each of them counts as one patient"}


def _folder_reports(folder: Path) -> list[Report]:
    reports: list[Report] = []
    unread: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):  # macOS writes hidden files such as ._report.txt
            continue
        if any((parent / CLAIM).exists() for parent in path.parents if parent.is_relative_to(folder)):
            continue  # a folder of results
        kind = kind_of(path)
        if kind in DOCUMENTS:
            reports.append(_document_report(path, folder))
        elif kind in TABLES:
            reports += _reports_of_a_table_in_a_folder(path, folder)
        elif kind in OTHER_DOCUMENTS:
            reports.append(_unreadable(path, folder, f"files of type {kind} are not read; {OTHER_DOCUMENTS[kind]}"))
        else:
            unread.append(name.as_posix())
    if unread:
        more = f" and {len(unread) - MAX_FILES_SHOWN} more" if len(unread) > MAX_FILES_SHOWN else ""
        logger.warning("%s: files that are not read: %s%s", folder, ", ".join(unread[:MAX_FILES_SHOWN]), more)
    return reports


def _document_report(path: Path, folder: Path) -> Report:
    name = path.relative_to(folder)
    name = name.with_suffix("").with_suffix("") if is_packed(path) else name.with_suffix("")
    report_id = _SURROGATE.sub("\ufffd", name.as_posix())
    try:
        return Report(report_id, report_id, read_document(path), has_patient=False)
    except ReportError as error:
        return Report(report_id, report_id, "", has_patient=False, problem=error.message)


def _reports_of_a_table_in_a_folder(path: Path, folder: Path) -> list[Report]:
    try:
        return _table_reports(path)
    except CohortError as error:
        if error.hint == EXTRA:
            raise
        return [_unreadable(path, folder, error.message)]


def _unreadable(path: Path, folder: Path, problem: str) -> Report:
    """Return the report of a whole file that cannot be read; it keeps its suffix, because others may share its name."""
    report_id = _SURROGATE.sub("\ufffd", path.relative_to(folder).as_posix())
    return Report(report_id, report_id, "", has_patient=False, problem=problem)


def _is_table(path: Path) -> bool:
    """Return whether a text file starts with the header of a table of reports."""
    if kind_of(path) != ".txt":
        return False
    try:
        names = canonical_columns(csv_header(decode(read_file(path))), COLUMNS, path)
    except (ReportError, CohortError):
        return False
    return _has_columns(names)


def _has_columns(names: Mapping[str, str]) -> bool:
    return "text" in names and bool(names.keys() & {"report_id", "patient_id"})


def _table_reports(source: Path) -> list[Report]:
    rows = read_table(source)
    if not rows:
        raise CohortError(f"{source}: no reports found", hint="give a .csv, .parquet or .jsonl table with rows")
    layouts = {keys: canonical_columns(keys, COLUMNS, source) for keys in dict.fromkeys(map(tuple, rows))}
    columns = list(dict.fromkeys(column for keys in layouts for column in keys))
    if not any(_has_columns(names) for names in layouts.values()):
        raise CohortError(  # column names are not shown: the first line may be a report
            f"{source}: no column with the report text, or none with its id, among {len(columns)} columns",
            hint="start the table with the header report_id,patient_id,text",
        )
    found = {ours: name for names in layouts.values() for ours, name in names.items()}
    also_read = {name for names in layouts.values() for name in names.values()} - set(found.values())
    warn_of_unused([column for column in columns if column not in also_read], found, COLUMNS, source)
    return [_row_report(row, layouts[tuple(row)], found, source, number) for number, row in enumerate(rows, start=1)]


def _row_report(
    row: Mapping[str, Any], names: Mapping[str, str], found: Mapping[str, str], source: Path, number: int
) -> Report:
    """Return the report in a row, whose columns are ``names``; ``found`` are the columns of all rows."""
    cells = {ours: row[name] for ours, name in names.items()}
    patient_id, report_id = cell_text(cells.get("patient_id")), cell_text(cells.get("report_id"))
    name = report_id or patient_id or f"row {number} of {source.name}"
    text = cells.get("text")
    problem = _misspelt(row, names, found)
    if isinstance(text, (list, dict)):
        problem = f"column {names['text']} is not text; write one string"
    elif not (report_id or patient_id):
        problem = problem or "no id; fill in the column report_id"
    elif kind_of(source) in SPREADSHEETS and len(str(text)) == LONGEST_CELL:
        problem = (
            f"the text has {LONGEST_CELL:,} characters, as many as a cell holds, and may be cut off; give a CSV table"
        )
    return Report(
        _SURROGATE.sub("\ufffd", name),
        _SURROGATE.sub("\ufffd", patient_id or name),
        "" if text is None or problem else _SURROGATE.sub("\ufffd", str(text)),
        has_patient=patient_id is not None,
        problem=problem,
    )


def _misspelt(row: Mapping[str, Any], names: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Return what is wrong with the keys of a row: no text, or a key that is close to one that other rows have."""
    unread = [key for key in row if key not in names.values()]
    for ours in found.keys() - names.keys():
        near = nearest_names(unread, {ours: COLUMNS[ours]}).removesuffix("; ")
        if near or ours == "text":
            return f"no {ours}: {near or 'the row has no such key'}"
    return ""


def _refuse_duplicates(reports: Iterable[Report], source: Path) -> None:
    seen: set[str] = set()
    for report in reports:
        if report.report_id in seen:
            raise CohortError(
                f"{source}: report_id {report.report_id!r} appears twice",
                hint="give each report a unique report_id; reports of one patient share the patient_id",
            )
        seen.add(report.report_id)
