"""Hypothesis strategies for files: damaged copies of a valid file, and odd values for its fields."""

import struct
from functools import reduce

from hypothesis import strategies as st

HUGE = [0, 1, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0xFFFF_FFFF]
"""Sizes and offsets at the ends of their ranges."""


def damaged(valid: bytes, *, head: int = 0) -> st.SearchStrategy[bytes]:
    """Return copies of ``valid`` with a few bytes changed, removed, repeated or inserted.

    Parameters
    ----------
    head
        If given, three in four edits are within this many bytes from either end, where headers and footers are.
    """
    size = len(valid)
    anywhere = st.integers(0, size)
    near = st.integers(0, min(head, size)) | st.integers(max(0, size - head), size)
    place = st.one_of(near, near, near, anywhere) if head else anywhere
    length = st.integers(0, 64) | st.integers(0, size)
    new = st.binary(min_size=1, max_size=8) | st.sampled_from(HUGE).flatmap(_packed)
    edits = st.one_of(
        st.tuples(st.just("replace"), place, new),
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("insert"), place, new),
        st.tuples(st.just("cut"), place, st.just(0)),
        st.tuples(st.just("remove"), place, length),
        st.tuples(st.just("repeat"), place, length),
        st.tuples(st.just("swap"), place, place),
    )
    return st.lists(edits, min_size=1, max_size=4).map(lambda chosen: reduce(_edited, chosen, valid))


def _packed(number: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from([struct.pack(f"{order}I", number) for order in "<>"] + [struct.pack("<Q", number)])


def _edited(data, edit):
    kind, at, what = edit
    match kind:
        case "replace":
            return data[:at] + what + data[at + len(what) :]
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << what]) + data[at + 1 :] if at < len(data) else data
        case "insert":
            return data[:at] + what + data[at:]
        case "cut":
            return data[:at]
        case "remove":
            return data[:at] + data[at + what :]
        case "repeat":
            return data[:at] + 2 * data[at : at + what] + data[at + what :]
    first, second = sorted((at, what))
    return (
        data[:first]
        + data[second : second + 16]
        + data[first + 16 : second]
        + data[first : first + 16]
        + data[second + 16 :]
    )


odd_text = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        *("", " ", "\t", "\0", "a\nb", "a\r\nb", "\u2028", "\ufeff", "\u202e", "\u200b", "é", "e\u0301", "İ", "ß"),
        *("nan", "NaN", "NA", "None", "inf", "-inf", "1e400", "-1", "0", "1_000", "٣", "9" * 400, "x" * 100_000),
        *("..", "/", "a/../b", "~", "C:\\x", "=1+1", "<b>", "&amp;", "'", '"', '""', "{{x}}", "%s", "\\", "C" * 300),
    ]
)
"""Text that users have, or should not have, in a cell."""
odd_numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(2**63), 2**64, 5e-324])
plain_values = st.none() | st.booleans() | odd_numbers | odd_text
json_values = st.recursive(
    plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=8,
)
