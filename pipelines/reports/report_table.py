"""The reports to describe: one row each, out of a table or a folder of text files."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.cohort import canonical_columns, read_rows
from pipelines.core.errors import CohortError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "report_id": ("report_id", "id", "filename", "patient_filename"),
    "patient_id": ("patient_id", "case_id", "patient"),
    "text": ("text", "report", "report_text", "body"),
}
"""Column names that are understood, lower-cased; the first is ours."""

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
"""What JSON may hold and no file can."""
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Report:
    """One pathology report."""

    report_id: str
    patient_id: str
    text: str

    def __repr__(self) -> str:
        """Leave out the text, which is confidential."""
        return f"Report({self.report_id!r}, {len(self.text)} characters)"

    @property
    def is_empty(self) -> bool:
        """True where the text holds fewer than three words, such as redaction bars only."""
        words = (match for match in _WORD.findall(self.text) if match.upper() != "REDACTED")
        return sum(1 for _ in words) < 3


def read_reports(source: Path) -> list[Report]:
    """Read reports from CSV, Parquet or JSON Lines (``report_id``, ``patient_id``, ``text``) or a folder of ``.txt``.

    Without a column ``patient_id`` each report is a patient of its own. Text that is neither
    UTF-8 nor marked as UTF-16 is read as Windows-1252; bytes without a meaning become U+FFFD.

    Raises
    ------
    CohortError
        The source is missing or unreadable, has no text or no id column, or repeats an id.
    """
    if source.is_dir():
        visible = source.rglob("[!.]*")  # hidden ones are what macOS notes on other files
        reports = [_file_report(path, source) for path in sorted(visible) if path.suffix.lower() == ".txt"]
    else:
        rows = read_table(source)
        if not rows:
            raise CohortError(f"{source}: no reports found", hint="give a .csv, .parquet or .jsonl table with rows")
        names = canonical_columns(rows[0].keys(), ALIASES)
        if "text" not in names or not names.keys() & {"report_id", "patient_id"}:
            raise CohortError(  # without the names found: the first line may be a report
                f"{source}: none of its {len(rows[0])} columns is named as the report text, or none as its id",
                hint="start the table with a line report_id,patient_id,text",
            )
        reports = [_row_report(row, names, source, number) for number, row in enumerate(rows, start=1)]
    if not reports:
        raise CohortError(f"{source}: no reports found", hint="give a table, or a folder that holds .txt files")
    _refuse_repeats(reports, source)
    return reports


def read_table(source: Path) -> list[dict[str, Any]]:
    """Read a CSV, Parquet or JSON Lines table as mappings; values of CSV stay text.

    Raises
    ------
    CohortError
        The file is missing or not such a table.
    """
    if source.suffix == ".parquet" or not source.is_file():
        return read_rows(source)
    text = decode(source.read_bytes())
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        return _json_lines(text, source)
    return _csv_rows(text, source)


def _csv_rows(text: str, source: Path) -> list[dict[str, Any]]:
    """Read CSV; a row that does not fit the header is refused, as text would be lost or taken for an id.

    Columns are separated by what the header has most of, as programs write semicolons in many languages.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default of 128 KiB is less than a 200-page report
    first_line = text.partition("\n")[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[dict[str, Any]] = []
    name = {",": "commas", ";": "semicolons", "\t": "tabs"}[separator]
    hint = f"put text with {name}, quotes or line ends between quotes, and write quotes in it twice"
    try:
        header = next(reader, [])
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
    """Return text from UTF-8 or marked UTF-16, else from Windows-1252; NUL bytes are left out."""
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
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise CohortError(f"{source}: line {number} is not a JSON object", hint="write one object a line")
        rows.append(row)
    return rows


def _file_report(path: Path, folder: Path) -> Report:
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Report(name, name, decode(path.read_bytes()))


def _row_report(row: Mapping[str, Any], names: Mapping[str, str], source: Path, number: int) -> Report:
    def value(name: str) -> str:
        found = row.get(names[name]) if name in names else None
        if isinstance(found, (list, dict)):
            raise CohortError(f"{source}: report {number}: its {names[name]} is not text", hint="write one string")
        return "" if found is None else _HALF_A_CHARACTER.sub("\ufffd", str(found))

    patient_id = value("patient_id").strip()
    report_id = value("report_id").strip() or patient_id
    if not report_id:
        raise CohortError(f"{source}: report {number} has no id", hint="fill the column report_id")
    return Report(report_id, patient_id or report_id, value("text"))


def _refuse_repeats(reports: Iterable[Report], source: Path) -> None:
    seen: set[str] = set()
    for report in reports:
        if report.report_id in seen:
            raise CohortError(
                f"{source}: report_id {report.report_id!r} stands twice",
                hint="give each report a report_id of its own; reports of one patient share the patient_id",
            )
        seen.add(report.report_id)
