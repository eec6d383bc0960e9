"""Read check boxes, tables and labels on their own line as ``label: value``, without moving a character."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_CHECKED = r"\[\s?[xX✓✔]\s?\]|\(\s?[xX✓✔]\s?\)|_+\s?[xX✓✔]\s?_+|[☒☑✓✔]"
_EMPTY = r"\[[\s_]*\]|\([\s_]*\)|_{2,}|[☐□]"
_BOX = re.compile(rf"(?P<checked>{_CHECKED})|(?P<empty>{_EMPTY})")
_BOX_SIGNS = ("[", "_", "()", "( ", "(x", "(X", "(✓", "(✔", *"☐□☒☑✓✔")
"""Parts of boxes; a text without any of them has none."""
_LETTER = re.compile(r"[^\W_]")
_OPTION_END = re.compile(r"[ \t]*(?:\n|[.;](?=\s|$)|[ \t]{3,}(?=\S)|$)")
"""Where the text of an option ends, if no other box comes first."""
_CELL = r"[A-Za-z][\w /()&,.'-]{1,60}?"
_ROW = re.compile(
    rf"^[ \t|]*(?P<label>{_CELL})(?<![.,;:]) *(?P<gap>[ \t]*\|[ \t]*|\t+[ \t]*| {{2,}})(?P<value>[^\s|].*)$", re.M
)
"""A line of a table: a label, a bar, a tab or several spaces, and a value."""
_MAX_LABEL_WORDS = 7


def lay_out(text: str) -> str:
    """Return ``text`` in the same length: options not checked are blank, cells and labels are followed by a colon.

    >>> lay_out("LVI: [ ] Present [x] Absent")
    'LVI:                 Absent'
    """
    marks = list(text)
    boxes = list(_BOX.finditer(text)) if any(sign in text for sign in _BOX_SIGNS) else []
    if len(boxes) > 1 or any(box.group("checked") for box in boxes):
        _keep_checked(text, marks, boxes)
    if "\n" in text or "\t" in text or "|" in text or "  " in text:
        _mark_cells("".join(marks), marks)
    return "".join(marks)


def _keep_checked(text: str, marks: list[str], boxes: Sequence[re.Match[str]]) -> None:
    """Blank out the boxes, and the options of the empty ones; end the label before the first box of a group."""
    for group in _groups(text, boxes):
        if not _is_choice(text, group):
            continue
        last_end = _option_end(text, group[-1])
        if _LETTER.search(text, group[-1].end(), last_end):  # boxes before their options
            _end_label(text, marks, group[0].start())
            ends = [*(box.start() for box in group[1:]), last_end]
            spans = [(box.start(), end) for box, end in zip(group, ends, strict=True)]
        else:
            starts = [_first_option(text, group[0].start()), *(box.end() for box in group[:-1])]
            spans = [(start, box.end()) for box, start in zip(group, starts, strict=True)]
        for box, span in zip(group, spans, strict=True):
            _blank(marks, *(box.span() if box.group("checked") else span))


def _is_choice(text: str, group: Sequence[re.Match[str]]) -> bool:
    """Return whether boxes are options to choose from, not a blank to fill in or words made unreadable."""
    if any(box.group("checked") for box in group):
        return True
    opened = text[: group[0].start()].rstrip().endswith(":")
    return len(group) > 1 and all(
        opened
        or not box.group().startswith("_")
        or not text[text.rfind("\n", 0, box.start()) + 1 : box.start()].strip()
        for box in group
    )


def _end_label(text: str, marks: list[str], first: int) -> None:
    """Write a colon after the label before the first box, unless it has one, and join it with the options."""
    end = len(text[:first].rstrip())
    if 0 < end < first and (text[end - 1].isalnum() or text[end - 1] in ":)"):
        marks[end:first] = " " * (first - end)
        if text[end - 1] != ":":
            marks[end] = ":"


def _first_option(text: str, end: int) -> int:
    """Return where the option before the first box starts: after a colon or several spaces, else its last word."""
    start = max(text.rfind(mark, 0, end) + len(mark) for mark in (":", "\n", "\t", "  ", ". "))
    words = text[start:end].split()
    return start if text[:start].rstrip().endswith(":") or not words else text.rfind(words[-1], 0, end)


def _groups(text: str, boxes: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """Yield the boxes that are options of the same label: nothing but one option is between two of them."""
    group: list[re.Match[str]] = []
    for box in boxes:
        if group and not _is_one_option(text[group[-1].end() : box.start()]):
            yield group
            group = []
        group.append(box)
    if group:
        yield group


def _is_one_option(between: str) -> bool:
    return len(between) <= 80 and not re.search(r"\S[^\n]*\n+[^\n]*\S|[.;:]\s", between)


def _option_end(text: str, box: re.Match[str]) -> int:
    end = _OPTION_END.search(text, box.end())
    return end.start() if end else len(text)


def _blank(marks: list[str], start: int, end: int) -> None:
    for at in range(start, end):
        if marks[at] != "\n":
            marks[at] = " "


def _mark_cells(text: str, marks: list[str]) -> None:
    """Write a colon between the label and the value of a row, and join a label with the value on the next line."""
    for row in _ROW.finditer(text):
        if len(row.group("label").split()) <= _MAX_LABEL_WORDS:
            _blank(marks, row.start(), row.start("label"))
            marks[row.start("gap")] = ":"
            marks[row.start("gap") + 1 : row.end("gap")] = " " * (row.end("gap") - row.start("gap") - 1)
            for at in range(row.start("value"), row.end()):
                marks[at] = "," if text[at] == "|" and text[at + 1 : row.end()].strip(" |") else marks[at]
                marks[at] = " " if marks[at] in "|\t" else marks[at]
