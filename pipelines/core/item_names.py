"""Ids of items as file names, and text that can be printed and stored whatever it contains."""

from __future__ import annotations

import re
import unicodedata

from pipelines.core.files import fingerprint

MAX_PART_BYTES = 200
"""Maximum length of a part of an id; file systems allow 255 bytes, and stages add suffixes."""
MAX_ID_BYTES = 1000
MAX_SHOWN = 80
"""Maximum number of characters of an id that a message shows."""
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def name_problem(item_id: str) -> str | None:
    """Return why ``item_id`` cannot be a file name below an output folder on every system; None if it can."""
    parts = item_id.split("/")
    problems = {
        "is not UTF-8": any(map(_is_surrogate, item_id)),
        "has a NUL character": "\0" in item_id,
        "has a line end or another control character": any(map(_is_control, item_id)),
        "is an absolute path": item_id.startswith("/"),
        "has an empty part, '.' or '..'": bool({"", ".", ".."} & set(parts)),
        f"is longer than {MAX_PART_BYTES} bytes": any(_n_bytes(part) > MAX_PART_BYTES for part in parts),
        f"is longer than {MAX_ID_BYTES} bytes in all": _n_bytes(item_id) > MAX_ID_BYTES,
        "has a part that ends with a dot or a space": any(part.endswith((".", " ")) for part in parts),
        "is the name of a device on Windows": any(WINDOWS_DEVICES.fullmatch(part) for part in parts),
    }
    return next((problem for problem, applies in problems.items() if applies), None)


def safe_id(item_id: str) -> str:
    """Return an id to record in place of one with a problem: printable, short, and no path outside its folder."""
    text = "".join(_percent(letter) if _is_unprintable(letter) else letter for letter in item_id)
    if {"", ".", ".."} & set(text.split("/")):
        text = text.replace("/", "%2F")
    if text in (".", ".."):
        text = text.replace(".", "%2E")
    if _n_bytes(text) > MAX_PART_BYTES:
        text = f"{text[:40]}~{fingerprint(text)}"
    return text


def file_name(item_id: str) -> str:
    """Return a name for the lock or traceback of an item in one folder, different for different ids.

    ``/`` is written ``__``. A digest is added where that would be ambiguous or the name too long.
    """
    name = item_id.replace("/", "__")
    if name.replace("__", "/") == item_id and _n_bytes(name) <= MAX_PART_BYTES:
        return name
    return f"{name[:40]}-{fingerprint(printable(item_id))}"


def printable(text: str, *, keep: str = "") -> str:
    r"""Return ``text`` with lone surrogates and control characters written as ``\xff`` or ``\n``.

    Those in ``keep`` stay. Bytes of a file name that are not UTF-8 are such surrogates.
    """
    return "".join(_escaped(letter) if _is_unprintable(letter) and letter not in keep else letter for letter in text)


def shown(item_id: str) -> str:
    """Return ``item_id`` for a message: quoted, printable, and shortened."""
    text = printable(item_id)
    return f"'{text}'" if len(text) <= MAX_SHOWN else f"'{text[:MAX_SHOWN]}...'"


def _is_surrogate(letter: str) -> bool:
    return "\ud800" <= letter <= "\udfff"


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


def _is_unprintable(letter: str) -> bool:
    return _is_surrogate(letter) or _is_control(letter)


def _bytes(letter: str) -> bytes:
    """Return the bytes of the file name that ``letter`` is read from."""
    return bytes([ord(letter) - 0xDC00]) if "\udc80" <= letter <= "\udcff" else letter.encode("utf-8", "surrogatepass")


def _percent(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in _bytes(letter))


def _escaped(letter: str) -> str:
    is_byte = "\udc80" <= letter <= "\udcff"
    return f"\\x{_bytes(letter)[0]:02x}" if is_byte else letter.encode("unicode_escape").decode()


def _n_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
