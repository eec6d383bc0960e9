"""Read the text of a document: plain text, PDF, Word or RTF."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from pipelines.core.errors import CohortError, ReportError
from pipelines.reports.source_bytes import check_archive, decode, kind_of, read_file
from pipelines.reports.table_rows import EXTRA

OTHER_DOCUMENTS = {
    **dict.fromkeys(
        (".doc", ".docm", ".odt", ".pages", ".wpd", ".htm", ".html", ".xml", ".eml", ".msg"), "save it as .docx or .txt"
    ),
    **dict.fromkeys((".hl7", ".oru"), "export a table with the columns report_id, patient_id and text"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".gz"), "unpack it"),
    **dict.fromkeys((".tif", ".tiff", ".jpg", ".jpeg", ".png"), "run text recognition (OCR) and save the text"),
}
"""Suffixes of files that may be reports but are not read -> what to do."""

_AFTER_BOX = re.compile(r"(\[[ X]\] ) +")
_LETTER = re.compile(r"[^\W\d_]")
logger = logging.getLogger(__name__)


def read_document(path: Path) -> str:
    """Return the text of a document.

    Raises
    ------
    ReportError
        The file is damaged, has a password, or has no text. The message does not name the file.
    CohortError
        The package that reads this type is not installed.
    """
    read = DOCUMENTS[kind_of(path)]
    data = read_file(path)
    try:
        return _clean(read(data, path))
    except (ReportError, CohortError):
        raise
    except Exception as error:  # noqa: BLE001 - parsers of damaged files raise anything
        raise ReportError(f"not a readable {kind_of(path)} file ({type(error).__name__})") from None


def _clean(text: str) -> str:
    """Return text that UTF-8 can hold: surrogate pairs are joined, halves replaced, and NUL removed."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "")


def _plain_text(data: bytes, path: Path) -> str:
    return decode(data)


def _pdf_text(data: bytes, path: Path) -> str:
    pypdf = _package("pypdf", path)
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # its warnings may repeat text
    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ReportError("the PDF has a password; save it without")
    pages = [page.extract_text() for page in reader.pages]
    without = [str(number) for number, text in enumerate(pages, start=1) if not _LETTER.search(text)]
    if len(without) == len(pages):
        raise ReportError("the PDF has no text; if it is a scan, run text recognition (OCR) first")
    if without:
        logger.warning("%s: pages without text, which may be scans: %s", path, ", ".join(without))
    return "\n\n".join(pages)


def _word_text(data: bytes, path: Path) -> str:
    mammoth = _package("mammoth", path)
    check_archive(data)
    no_images = mammoth.images.img_element(lambda _: {})
    html = mammoth.convert_to_html(io.BytesIO(data), convert_image=no_images).value
    reader = _HtmlText()
    reader.feed(html)
    reader.close()
    return reader.text()


def _rtf_text(data: bytes, path: Path) -> str:
    striprtf = _package("striprtf.striprtf", path, "striprtf")
    if not data.lstrip().startswith(b"{\\rtf"):
        raise ReportError("not an RTF file")
    text: str = striprtf.rtf_to_text(data.decode("latin-1"), errors="replace")
    return text


DOCUMENTS: dict[str, Callable[[bytes, Path], str]] = {
    ".txt": _plain_text,
    ".pdf": _pdf_text,
    ".docx": _word_text,
    ".rtf": _rtf_text,
}
"""Suffixes of documents -> how to read them."""


class _HtmlText(HTMLParser):
    """Collects the text of a converted Word file: one line per paragraph or table row, ``|`` between cells."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[list[str]] = [[""]]
        """Lines of cells."""
        self._cells = 0
        """Number of table cells that are open."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "input":
            self._lines[-1][-1] += "[X] " if "checked" in dict(attrs) else "[ ] "
        elif tag in ("td", "th"):
            self._cells += 1
        elif tag == "br":
            self._end_line()

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cells -= 1
            if not self._cells:
                self._lines[-1].append("")
        elif tag in ("p", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6"):
            self._end_line()

    def handle_data(self, data: str) -> None:
        self._lines[-1][-1] += data

    def _end_line(self) -> None:
        if self._cells:
            self._lines[-1][-1] += " "
        else:
            self._lines.append([""])

    def text(self) -> str:
        """Return the text collected so far."""
        lines = (" | ".join(cell.strip() for cell in cells if cell.strip()) for cells in self._lines)
        return _AFTER_BOX.sub(r"\1", "\n".join(lines)).strip()


def _package(module: str, path: Path, name: str = "") -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise CohortError(f"{path}: the package {name or module} is not installed", hint=EXTRA) from error
