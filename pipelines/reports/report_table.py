"""Read pathology reports from a table or from a folder of text files."""

from __future__ import annotations

import codecs
import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.errors import CohortError
from pipelines.core.json_text import parse_json
from pipelines.core.user_tables import (
    PATIENT_NAMES,
    Names,
    canonical_columns,
    cell_text,
    read_rows,
    refuse_repeated_columns,
    warn_of_unused,
)

COLUMNS: Names = {
    "report_id": ("report_id", "id", "report_name", "accession_number", "filename", "patient_filename"),
    "patient_id": PATIENT_NAMES,
    "text": ("text", "report", "report_text", "body"),
}
"""Columns of a table of reports."""

_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can hold but UTF-8 cannot."""
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Report:
    """One pathology report."""

    report_id: str
    patient_id: str
    text: str
    has_patient: bool = field(default=True, compare=False)
    """Whether the source names the patient; otherwise the report counts as one patient."""

    def __repr__(self) -> str:
        """Leave out the text, which is confidential."""
        return f"Report({self.report_id!r}, {len(self.text)} characters)"

    @property
    def is_empty(self) -> bool:
        """True if the text has fewer than three words, for example only redaction bars."""
        words = (match for match in _WORD.findall(self.text) if match.upper() != "REDACTED")
        return sum(1 for _ in words) < 3


def read_reports(source: Path) -> list[Report]:
    """Read reports from CSV, Parquet or JSON Lines (``report_id``, ``patient_id``, ``text``) or a folder of ``.txt``.

    Without a column ``patient_id``, each report counts as one patient. Columns that are not read are
    named in a warning of the log. Text is decoded as UTF-16 if it has a byte order mark, else as UTF-8,
    else as Windows-1252 (undefined bytes become U+FFFD).

    Raises
    ------
    CohortError
        The source is missing or unreadable, has no text or id column, or an id appears twice.
    """
    if source.is_dir():
        visible = source.rglob("[!.]*")  # macOS writes hidden files such as ._report.txt
        reports = [_file_report(path, source) for path in sorted(visible) if path.suffix.lower() == ".txt"]
    else:
        rows = read_table(source)
        if not rows:
            raise CohortError(f"{source}: no reports found", hint="give a .csv, .parquet or .jsonl table with rows")
        columns = list(dict.fromkeys(column for row in rows for column in row))
        names = canonical_columns(columns, COLUMNS, source)
        if "text" not in names or not names.keys() & {"report_id", "patient_id"}:
            raise CohortError(  # column names are not shown: the first line may be a report
                f"{source}: no column with the report text, or none with its id, among {len(columns)} columns",
                hint="start the table with the header report_id,patient_id,text",
            )
        warn_of_unused(columns, names, COLUMNS, source)
        reports = [_row_report(row, names, source, number) for number, row in enumerate(rows, start=1)]
    if not reports:
        raise CohortError(f"{source}: no reports found", hint="give a table, or a folder with .txt files")
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


def read_table(source: Path) -> list[dict[str, Any]]:
    """Return the rows of a CSV, Parquet or JSON Lines table as mappings; CSV values stay text.

    Raises
    ------
    CohortError
        The file is missing, or it is not a valid table of its type.
    """
    if source.suffix == ".parquet" or not source.is_file():
        return read_rows(source)
    text = decode(source.read_bytes())
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_lines(text, source)
    return _csv_rows(text, source)


def _csv_rows(text: str, source: Path) -> list[dict[str, Any]]:
    """Return the rows of CSV text; the separator is the most frequent of ``,``, ``;`` and tab in the header.

    A row with more or fewer fields than the header is an error: otherwise text could be lost or read as an id.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a 200-page report exceeds the default of 128 KiB
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[dict[str, Any]] = []
    plural = {",": "commas", ";": "semicolons", "\t": "tabs"}[separator]
    hint = f"put text with {plural}, quotes or line ends between quotes, and double the quotes inside"
    try:
        header = next(reader, [])
        refuse_repeated_columns(header, source)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise CohortError(
                    f"{source}: line {reader.line_num}: {len(fields)} fields, but the header has {len(header)}",
                    hint=hint,
                )
            rows.append(dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise CohortError(f"{source}: line {reader.line_num}: not CSV ({error})", hint=hint) from None
    return rows


def decode(data: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else Windows-1252; NUL characters are removed."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\0", "")


def _json_lines(text: str, source: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CohortError(f"{source}: line {number} is not a JSON object", hint="write one JSON object per line")
        rows.append(row)
    return rows


def _file_report(path: Path, folder: Path) -> Report:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Report(name, name, decode(path.read_bytes()), has_patient=False)


def _row_report(row: Mapping[str, Any], names: Mapping[str, str], source: Path, number: int) -> Report:
    def cell(name: str) -> Any:
        found = row.get(names[name]) if name in names else None
        if isinstance(found, (list, dict)):
            raise CohortError(f"{source}: report {number}: column {names[name]} is not text", hint="write one string")
        return _SURROGATE.sub("\ufffd", found) if isinstance(found, str) else found

    patient_id = cell_text(cell("patient_id"))
    report_id = cell_text(cell("report_id")) or patient_id
    if not report_id:
        raise CohortError(f"{source}: report {number} has no id", hint="fill in the column report_id")
    text = cell("text")
    return Report(
        report_id, patient_id or report_id, "" if text is None else str(text), has_patient=patient_id is not None
    )


def _refuse_duplicates(reports: Iterable[Report], source: Path) -> None:
    seen: set[str] = set()
    for report in reports:
        if report.report_id in seen:
            raise CohortError(
                f"{source}: report_id {report.report_id!r} appears twice",
                hint="give each report a unique report_id; reports of one patient share the patient_id",
            )
        seen.add(report.report_id)
