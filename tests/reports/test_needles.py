"""A search is skipped only where the term cannot match."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.question_files import load_questions, shipped_sets
from pipelines.core.vocabulary import Language
from pipelines.reports.needles import needles_of
from pipelines.reports.term_patterns import TermPatterns, find_terms


def terms_of(name):
    for question in load_questions(name).questions:
        rules = question.rules
        yield from (*rules.about, *rules.ignore, *rules.skip)
        for allowed in question.values.values():
            yield from (*allowed.terms, *allowed.decisive)


TERMS = sorted({term for name in shipped_sets() for term in terms_of(name)} | {t for _, ts in Language() for t in ts})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("inva", [{"inva"}]),
        ("(well|poorly) done", [{" done"}, {"poorly", "well"}]),
        ("(a|b)?c", [{"c"}]),
        ("V ?[12]", [{"v"}, {"1", "2"}]),
        ("x*", []),
        (r"\w+", []),
        ("(ab)+", [{"ab"}]),
        ("(?=[ab])Xy", [{"xy"}, {"a", "b"}]),
        ("(?!no)yes", [{"yes"}]),
        ("(", []),
    ],
)
def test_every_match_contains_one_text_of_each_set(expression, expected):
    assert [set(texts) for texts in needles_of(expression)] == expected


@given(st.sampled_from(TERMS).flatmap(lambda t: st.tuples(st.just(t), matching(t))))
@settings(max_examples=300, deadline=None)
def test_no_match_of_a_shipped_term_is_missed(drawn):
    term, text = drawn
    assert TermPatterns([term]).may_match(text.lower())


def matching(term):
    if term.startswith("/"):
        return st.from_regex(
            re.compile(term[1:-1], re.IGNORECASE | re.ASCII), alphabet=st.characters(max_codepoint=126)
        )
    return st.just(term.replace("*", "xyz").upper())


@given(
    st.lists(st.sampled_from(["a", "ab", "b*", "a b", "/a+/", "/b(?=a)/", "bab"]), max_size=4),
    st.text("ab ", max_size=12),
)
def test_spans_are_in_order_do_not_overlap_and_none_is_left_out(terms, text):
    spans = find_terms(terms, text)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    for term in terms:
        for start, end in find_terms([term], text):
            assert any(left < end and start < right for left, right in spans)
