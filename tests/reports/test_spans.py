"""The fast searches in a clause give what comparing everything with everything would give."""

from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports.clauses import CommaPieces
from pipelines.reports.spans import distance, has_span_within, nearest_distance, not_covered

any_spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda s: (s[0], s[0] + s[1])), max_size=12)


@st.composite
def ordered_spans(draw, min_size=0):
    cuts = sorted(draw(st.sets(st.integers(0, 40), min_size=2 * min_size, max_size=16)))
    return list(zip(cuts[::2], cuts[1::2], strict=False))


def is_covered(span, spans):
    return any(a <= span[0] and span[1] <= b and (a, b) != span for a, b in spans)


@given(any_spans)
def test_spans_inside_longer_ones_are_left_out(spans):
    assert not_covered(spans) == {span for span in spans if not is_covered(span, spans)}


@given(ordered_spans(min_size=1), st.integers(0, 40), st.integers(0, 10))
def test_the_nearest_span_is_the_nearest_of_all(spans, start, length):
    to = (start, start + length)
    assert nearest_distance(spans, to) == min(distance(span, to) for span in spans)


@given(ordered_spans(), st.integers(0, 40), st.integers(0, 40))
def test_a_span_within_limits_is_found(spans, left, right):
    assert has_span_within(spans, left, right) == any(left <= a and b <= right for a, b in spans)


@given(st.text("ab,;:", max_size=30), st.integers(0, 30), st.integers(0, 5), st.sampled_from([",;:", ",;"]))
def test_a_piece_reaches_from_the_last_mark_before_to_the_first_mark_after(text, start, length, end_marks):
    start = min(start, len(text))
    end = min(start + length, len(text))
    left = max(text.rfind(mark, 0, start) for mark in ",;:") + 1
    right = min((at for mark in end_marks if (at := text.find(mark, end)) >= 0), default=len(text))
    assert CommaPieces(text, end_marks=end_marks).around(start, end) == (left, right)
