"""Read tables that users write: rows, names of columns, and cells without a value."""

from __future__ import annotations

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipelines.core.errors import CohortError

Names = Mapping[str, tuple[str, ...]]
"""Our column names -> all accepted names. Upper case, spaces and punctuation do not matter."""

PATIENT_NAMES = (
    *("patient_id", "patient", "patient_number", "patient_code", "patient_identifier", "patient_barcode"),
    *("bcr_patient_barcode", "case_id", "case", "case_barcode", "case_submitter_id", "cases.submitter_id"),
    *("subject_id", "subject", "participant_id"),
)
"""Accepted names of the column with patients, in cohort and report tables; the first one found is used."""

MISSING = frozenset({"", "na", "n/a", "#n/a", "<na>", "nan", "none", "null"})
"""Contents of a cell, in lower case, that mean that there is no value."""

MAX_COLUMNS_SHOWN = 10
"""Maximum number of unused columns named in a warning."""
MAX_NAME_LENGTH = 40
"""Maximum number of characters of a column name shown in a warning."""
_INDEX = re.compile(r"(Unnamed: \d+)?")
"""Names that pandas, or an empty cell in the header, give to an index column."""

logger = logging.getLogger(__name__)


def read_rows(source: Path) -> list[dict[str, Any]]:
    """Read a CSV or Parquet table as one mapping per row; CSV values stay text, with leading zeros.

    Raises
    ------
    CohortError
        The file is missing, not UTF-8, not a table, or a column or line of it is ambiguous.
    """
    if not source.is_file():
        raise CohortError(f"{source}: no such table", hint="give a .csv or .parquet file, or a folder")
    return _parquet_rows(source) if source.suffix.lower() == ".parquet" else _csv_rows(source)


def _parquet_rows(source: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(source) as file:
            table = file.read()
        refuse_repeated_columns(table.column_names, source)
        rows: list[dict[str, Any]] = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise CohortError(f"{source}: not a readable Parquet file ({type(error).__name__})") from error
    return rows


def _csv_rows(source: Path) -> list[dict[str, Any]]:
    hint = "save it as CSV in UTF-8"
    try:
        text = source.read_bytes().decode("utf-8-sig")
        if "\0" in text.partition("\n")[0]:  # UTF-16 without a byte order mark, or no text at all
            raise CohortError(f"{source}: not a UTF-8 CSV table (it has NUL characters)", hint=hint)
        # csv refuses NUL before Python 3.11; another control character fails its own row in the same way
        reader = csv.DictReader(io.StringIO(text.replace("\0", "\x01"), newline=""), strict=True)
        refuse_repeated_columns(reader.fieldnames or (), source)
        rows: list[dict[str, Any]] = []
        for row in reader:
            if any(cell.strip() for cell in row.pop(None, ())):
                raise CohortError(
                    f"{source}: line {reader.line_num} has more fields than the header",
                    hint="put values with commas between quotes",
                )
            rows.append(dict(row))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(f"{source}: not a UTF-8 CSV table ({type(error).__name__})", hint=hint) from error
    return rows


def refuse_repeated_columns(columns: Iterable[str], source: Path) -> None:
    """Raise a `CohortError` if two columns have the same name, because only one could be read."""
    first: dict[str, int] = {}
    for number, name in enumerate(columns, start=1):
        if name.strip() and first.setdefault(name, number) != number:  # the name may be text of a report
            raise CohortError(
                f"{source}: columns {first[name]} and {number} have the same name", hint="rename or delete one of them"
            )


def column_key(name: object) -> str:
    """Return ``name`` as column names are compared: lower case, only letters and digits."""
    text = unicodedata.normalize("NFKC", str(name)).casefold()
    return "".join(character for character in text if character.isalnum())


def canonical_columns(columns: Iterable[Any], accepted: Names, source: Path) -> dict[str, str]:
    """Return our name -> name in the table, for all columns with an accepted name.

    Raises
    ------
    CohortError
        Two columns have the same accepted name in different spellings.
    """
    by_key: dict[str, list[str]] = {}
    for name in columns:
        if name is not None:
            by_key.setdefault(column_key(name), []).append(str(name))
    found = {}
    for ours, names in accepted.items():
        spellings = next((by_key[column_key(name)] for name in names if column_key(name) in by_key), None)
        if spellings is None:
            continue
        if len(spellings) > 1:
            raise CohortError(
                f"{source}: the columns {' and '.join(map(repr, spellings))} both mean {ours}", hint="keep one of them"
            )
        found[ours] = spellings[0]
    return found


def warn_of_unused(columns: Iterable[Any], found: Mapping[str, str], accepted: Names, source: Path) -> None:
    """Log a warning that names the columns of ``source`` that are not read, with the nearest name that is.

    Parameters
    ----------
    found
        The columns that are read, as `canonical_columns` returns them.
    """
    read = set(found.values())
    unused = [str(name) for name in columns if name is not None and str(name) not in read]
    notes = {name: _note(name, found, accepted) for name in unused if not _INDEX.fullmatch(name.strip())}
    shown = sorted(notes, key=lambda name: not notes[name])[:MAX_COLUMNS_SHOWN]
    if shown:
        more = f" and {len(notes) - len(shown)} more" if len(notes) > len(shown) else ""
        names = ", ".join(_shown(name) + notes[name] for name in shown)
        logger.warning("%s: columns that are not read: %s%s", source, names, more)


def nearest_names(columns: Iterable[Any], accepted: Names) -> str:
    """Return a hint that ends with ``; ``, about columns whose names are close to accepted ones; else an empty text."""
    notes = {str(name): _note(str(name), {}, accepted) for name in columns if name is not None}
    return "".join(f"column {_shown(name)}{note}; " for name, note in notes.items() if note)


def _note(name: str, found: Mapping[str, str], accepted: Names) -> str:
    """Return what to say about a column that is not read: what is read instead, or the name that was meant."""
    key = column_key(name)
    keys = {column_key(one): ours for ours, names in accepted.items() for one in names}
    if keys.get(key) in found:
        return f" ({found[keys[key]]} is read instead)"
    open_keys = [one for one, ours in keys.items() if ours not in found]
    close = get_close_matches(key, open_keys, n=1, cutoff=0.8)
    return f" (did you mean {keys[close[0]]}?)" if close else ""


def _shown(name: str) -> str:
    return repr(name if len(name) <= MAX_NAME_LENGTH else name[:MAX_NAME_LENGTH] + "...")


def is_missing(text: str) -> bool:
    """Return whether a cell with this text has no value, for example ``NA``, ``nan`` or a blank."""
    return text.strip().casefold() in MISSING


def cell_text(cell: object) -> str | None:
    """Return a cell as text without surrounding white space; None if it has no value.

    Whole floating-point numbers lose their ``.0``: pandas writes ids and classes so if other cells of the column
    are empty.
    """
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = cell.decode("utf-8", errors="replace") if isinstance(cell, bytes) else str(cell)
    return None if cell is None or is_missing(text) else text.strip()
