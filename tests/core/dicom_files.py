"""Hand-made DICOM files after PS3.5 and PS3.10, with a few elements before and after the series."""

import struct

UID_ROOT = "1.2.826.0.1.3680043.9999"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ITEM, ITEM_END, SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF


def element(tag, vr, value, *, explicit=True, length=None):
    value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    length = len(value) if length is None else length
    if not explicit:
        return struct.pack("<HHI", *tag, length) + value
    if vr in ("SQ", "OB", "UN"):
        return struct.pack("<HH2sHI", *tag, vr.encode(), 0, length) + value
    return struct.pack("<HH2sH", *tag, vr.encode(), length) + value


def sequence(tag, content, *, explicit):
    """Return a sequence of one item with undefined lengths, as many programs write it."""
    item = struct.pack("<HHI", *ITEM, UNDEFINED) + content + struct.pack("<HHI", *ITEM_END, 0)
    end = struct.pack("<HHI", *SEQUENCE_END, 0)
    return element(tag, "SQ", item + end, explicit=explicit, length=UNDEFINED)


def write_dicom(path, series, *, syntax=EXPLICIT, nested="another series in a sequence"):
    explicit = syntax != IMPLICIT
    meta = element((2, 0x10), "UI", syntax.encode()) + element((2, 0x102), "OB", b"\1\2\3\4")
    inner = element((0x20, 0xE), "UI", nested.encode(), explicit=explicit)
    body = element((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.77.1.6", explicit=explicit)
    body += sequence((8, 0x1140), sequence((8, 0x1199), inner, explicit=explicit), explicit=explicit)
    body += element((0x10, 0x10), "PN", b"Nobody", explicit=explicit)
    if series:
        body += element((0x20, 0xE), "UI", series.encode(), explicit=explicit)
    body += element((0x28, 0x10), "US", b"\1\0", explicit=explicit)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + meta + body)
    return path
