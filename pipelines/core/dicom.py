"""Find out which series a DICOM file belongs to, as needed to list slides.

A scanned slide is one series: one file per pyramid level, plus label and overview images.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

SERIES_UID, TRANSFER_SYNTAX = 0x0020_000E, 0x0002_0010
FILE_META, DELIMITERS = 0x0002, 0xFFFE
"""Groups whose elements have the same encoding in every file."""
ITEM_END, SEQUENCE_END = 0xFFFE_E00D, 0xFFFE_E0DD
MAX_UID = 1_024
"""Maximum number of bytes of a UID that is read; DICOM allows 64."""
UNDEFINED = 0xFFFF_FFFF
IMPLICIT_SYNTAX = b"1.2.840.10008.1.2"
"""Transfer syntax whose elements do not state their value representation (VR)."""
LONG_VALUES = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
"""Value representations (VR) with a four-byte length (DICOM PS3.5, section 7.1.2)."""


def series_uid(path: Path) -> str | None:
    """Return the SeriesInstanceUID of a DICOM file; None if there is none or the file is damaged."""
    try:
        with path.open("rb") as stream:
            return _series_uid(stream) if stream.read(132)[128:] == b"DICM" else None
    except (OSError, struct.error, RecursionError, UnicodeDecodeError):
        return None


def _series_uid(stream: BinaryIO) -> str | None:
    explicit, tag = True, 0
    while tag < SERIES_UID:  # elements are sorted by tag
        tag, length = _header(stream, explicit=explicit)
        if tag in (TRANSFER_SYNTAX, SERIES_UID) and length > MAX_UID:
            return None
        if tag == TRANSFER_SYNTAX:
            explicit = stream.read(length).rstrip(b"\0") != IMPLICIT_SYNTAX
        elif tag == SERIES_UID:
            return stream.read(length).rstrip(b"\0 ").decode("ascii") or None
        else:
            _skip(stream, length, explicit=explicit)
    return None


def _header(stream: BinaryIO, *, explicit: bool) -> tuple[int, int]:
    """Return tag and length of the next element."""
    group, element = struct.unpack("<HH", stream.read(4))
    vr = stream.read(2) if group != DELIMITERS and (explicit or group == FILE_META) else None
    if vr in LONG_VALUES:
        stream.read(2)
    size = "<I" if vr is None or vr in LONG_VALUES else "<H"
    return group << 16 | element, struct.unpack(size, stream.read(struct.calcsize(size)))[0]


def _skip(stream: BinaryIO, length: int, *, explicit: bool) -> None:
    """Skip a value. A value of undefined length is a sequence or an item of a sequence."""
    if length != UNDEFINED:
        stream.seek(length, 1)
        return
    while True:
        tag, length = _header(stream, explicit=explicit)
        if tag in (ITEM_END, SEQUENCE_END):
            return
        _skip(stream, length, explicit=explicit)
