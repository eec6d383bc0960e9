"""Read the rows of a table: CSV, Parquet, JSON, JSON Lines or a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
import sys
from pathlib import Path
from typing import Any

from pipelines.core.errors import CohortError, ReportError
from pipelines.core.json_text import parse_json
from pipelines.core.user_tables import read_rows, refuse_repeated_columns
from pipelines.reports.source_bytes import check_archive, decode, is_packed, kind_of, read_file

Rows = list[dict[str, Any]]

JSON_LINES = (".jsonl", ".ndjson")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
TABLES = (".csv", ".tsv", ".parquet", ".json", *JSON_LINES, *SPREADSHEETS)
"""Suffixes of tables."""
EXTRA = "pip install 'five-wsi[documents]'"
"""How to install the packages that read spreadsheets and documents."""

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|])\r?\n", re.I)
"""First line by which Excel names the separator."""


def read_table(source: Path) -> Rows:
    """Return the rows of a table as mappings; CSV values stay text.

    CSV may be separated by commas, semicolons, tabs or pipes. JSON is an array of objects, also as the only
    list in an object. A text file packed with gzip is unpacked.

    Raises
    ------
    CohortError
        The file is missing, or it is not a valid table of its type.
    """
    kind = kind_of(source)
    if not source.is_file() or (kind == ".parquet" and not is_packed(source)):
        return read_rows(source)
    if kind in SPREADSHEETS and not is_packed(source):
        return _sheet_rows(source)
    if kind in (".parquet", *SPREADSHEETS):
        raise CohortError(f"{source}: only text is read from gzip files", hint="unpack it")
    try:
        text = decode(read_file(source))
    except ReportError as error:
        raise CohortError(f"{source}: {error.message}") from None
    if kind == ".json":
        return _json_rows(text, source)
    return _json_lines(text, source) if kind in JSON_LINES else csv_rows(text, source)


def csv_rows(text: str, source: Path) -> Rows:
    """Return the rows of a CSV table; ``source`` is for messages.

    Raises
    ------
    CohortError
        A line has another number of fields than the header, or quotes are not closed.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # a 200-page report exceeds the default of 128 KiB
    separator, text, before = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: Rows = []
    hint = f"put text with {_SEPARATORS[separator]}, quotes or line ends between quotes, and double the quotes inside"
    try:
        header = next(reader, [])
        refuse_repeated_columns(header, source)
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise CohortError(
                    f"{source}: line {reader.line_num + before}: {len(fields)} fields,"
                    f" but the header has {len(header)}",
                    hint=hint,
                )
            rows.append(dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise CohortError(f"{source}: line {reader.line_num + before}: not CSV ({error})", hint=hint) from None
    return rows


def csv_header(text: str) -> list[str]:
    """Return the fields of the first line of a CSV table."""
    separator, text, _ = _separator(text)
    try:
        return next(csv.reader([text.partition("\n")[0]], delimiter=separator, strict=True), [])
    except csv.Error:
        return []


def _separator(text: str) -> tuple[str, str, int]:
    """Return the separator of a CSV table, its text without a line that names it, and the number of such lines."""
    named = _SEPARATOR_LINE.match(text)
    if named:
        return named[1], text[named.end() :], 1
    first_line = text.partition("\n")[0]
    return max(_SEPARATORS, key=first_line.count), text, 0


def _json_rows(text: str, source: Path) -> Rows:
    """Return the objects of an array, of the only list in an object, or of lines."""
    try:
        data = parse_json(text)
    except ValueError:
        return _json_lines(text, source)
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = lists[0] if len(lists) == 1 and all(isinstance(row, dict) for row in lists[0]) else [data]
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise CohortError(f"{source}: not a JSON array of objects", hint="write one object per report")
    return data


def _json_lines(text: str, source: Path) -> Rows:
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


def _sheet_rows(source: Path) -> Rows:
    """Return the rows of the only sheet that is not empty."""
    try:
        import python_calamine
    except ImportError as error:
        raise CohortError(f"{source}: the package python-calamine is not installed", hint=EXTRA) from error
    try:
        data = read_file(source)
        check_archive(data)
        with python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data)) as book:
            sheets = [book.get_sheet_by_name(name).to_python() for name in book.sheet_names]
    except ReportError as error:
        raise CohortError(f"{source}: {error.message}") from None
    except (python_calamine.CalamineError, OSError, ValueError) as error:
        raise CohortError(f"{source}: not a readable spreadsheet ({type(error).__name__})") from None
    filled = [rows for rows in sheets if rows]
    if len(filled) > 1:
        raise CohortError(f"{source}: {len(filled)} sheets have content", hint="keep one, or save it as CSV")
    header, *rows = filled[0] if filled else [[]]
    names = [str(name) for name in header]
    refuse_repeated_columns(names, source)
    return [dict(zip(names, row, strict=False)) for row in rows if any(cell != "" for cell in row)]
