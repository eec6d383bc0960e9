"""Compare positions of words in a text. Spans are in order and do not overlap unless it is said."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from pipelines.reports.clauses import Span


def not_covered(spans: Iterable[Span]) -> set[Span]:
    """Return the spans without those in longer ones: "well differentiated" in "moderately well differentiated"."""
    kept = set()
    furthest = -1
    for start, end in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        if end > furthest:
            kept.add((start, end))
            furthest = end
    return kept


def has_span_within(spans: Sequence[Span], left: int, right: int, before: int | None = None) -> bool:
    """Return whether one of ``spans`` lies between two positions, and starts before a third one if it is given.

    The spans are in order and do not overlap.
    """
    first = bisect_left(spans, (left, left))
    if first == len(spans) or spans[first][1] > right:
        return False
    return before is None or spans[first][0] < before


def nearest_distance(spans: Sequence[Span], to: Span) -> int:
    """Return the distance from ``to`` to the nearest of ``spans``, which are in order and do not overlap."""
    after = bisect_left(spans, to)
    return min(distance(span, to) for span in spans[max(0, after - 1) : after + 1])


def distance(a: Span, b: Span) -> int:
    """Return the number of characters between two spans, 0 if they touch or overlap."""
    return max(a[0], b[0]) - min(a[1], b[1]) if max(a[0], b[0]) > min(a[1], b[1]) else 0
