"""The bytes of a source file, unpacked, and their text."""

from __future__ import annotations

import codecs
import gzip
import io
import struct
import zipfile
import zlib
from pathlib import Path

from pipelines.core.errors import ReportError

MAX_BYTES = 2 * 1024**3
"""Maximum size of an unpacked file; a small file can be packed so that it fills the memory."""
_DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, struct.error)
"""What zipfile raises for damaged archives."""


def kind_of(path: Path) -> str:
    """Return the suffix of a file in lower case; of a packed one, the suffix of what is in it (``a.csv.gz``: .csv)."""
    return Path(path.stem).suffix.lower() if is_packed(path) else path.suffix.lower()


def is_packed(path: Path) -> bool:
    """Return whether a file is packed with gzip."""
    return path.suffix.lower() == ".gz"


def read_file(path: Path) -> bytes:
    """Return the content of a file, unpacked.

    Raises
    ------
    ReportError
        The file cannot be read or unpacked. The message does not name it.
    """
    try:
        if not is_packed(path):
            return path.read_bytes()
        with gzip.open(path) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        what = "gzip file" if is_packed(path) else "file"
        raise ReportError(f"not a readable {what} ({type(error).__name__})") from None
    if len(data) > MAX_BYTES:
        raise _too_large()
    return data


def check_archive(data: bytes) -> None:
    """Raise `ReportError` if an Office file, which is a ZIP archive, is damaged or too large when unpacked."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except _DAMAGED_ZIP as error:
        raise ReportError(f"a damaged file ({type(error).__name__})") from None
    if size > MAX_BYTES:
        raise _too_large()


def _too_large() -> ReportError:
    return ReportError(f"larger than {MAX_BYTES / 1024**3:.0f} GiB when unpacked")


def decode(data: bytes) -> str:
    """Decode UTF-8, UTF-16 with a byte order mark, or else Windows-1252; NUL characters are removed."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.replace("\0", "")
