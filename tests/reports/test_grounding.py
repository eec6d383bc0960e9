from unittest.mock import patch

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines.reports import grounding
from pipelines.reports.grounding import locate

REPORT = "There is NO pleural. inva-\nsion. Margins   free (R0)."
WORDS = st.lists(st.text(alphabet="abcXYZ019äß", min_size=2, max_size=6), min_size=1, max_size=8)


def located_text(quote, report=REPORT):
    span = locate(quote, report)
    return None if span is None else report[slice(*span)]


@pytest.mark.parametrize(
    ("quote", "expected"),
    [
        ("NO pleural", "NO pleural"),
        ("no pleural invasion", "NO pleural. inva-\nsion"),
        ("Margins free", "Margins   free"),
        ("margins free (r0)", "Margins   free (R0"),
        ("  R0  ", "R0"),
    ],
)
def test_a_quote_is_found_despite_differences_in_case_spaces_and_line_ends(quote, expected):
    assert located_text(quote) == expected


@pytest.mark.parametrize("quote", ["", " ", ".", "0", "pleural invasion present", "pleur", "argins free", "is NO pl"])
def test_text_that_is_not_a_quote_of_whole_words_is_not_found(quote):
    assert located_text(quote) is None


def test_an_exact_match_is_preferred_to_an_earlier_inexact_one():
    assert locate("free margin", "FREE MARGIN and free margin") == (16, 27)


def test_the_first_of_equal_matches_is_taken():
    assert locate("margin", "a margin, a margin") == (2, 8)


@given(WORDS, st.data())
def test_every_sequence_of_whole_words_is_found(words, data):
    report = " ".join(words)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    quote = " ".join(words[first : last + 1])
    start, end = locate(quote, report)
    assert report[start:end] == quote


@given(WORDS, st.sampled_from(["\n", ". ", "-\n", "  ", ",\t"]))
def test_a_quote_is_found_whatever_is_between_its_words(words, gap):
    report = gap.join(words).upper()
    assume(len(report) == len(gap.join(words)))
    assert locate(" ".join(words), report) == (0, len(report))


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_span_found_has_the_letters_of_the_quote(quote, report):
    span = locate(quote, report)
    if span is not None:
        letters = [c.lower() for c in report[slice(*span)] if c.isalnum()]
        assert letters == [c.lower() for c in quote if c.isalnum()]


@pytest.mark.parametrize("quote", ["█████", "[REDACTED]", "REDACTED REDACTED"])
def test_redacted_text_is_not_a_quote(quote):
    assert locate(quote, f"Pleura: {quote} end") is None


@given(st.text("ab -", max_size=60), st.text("ab -", min_size=1, max_size=4), st.sampled_from([0, 1, 50]))
def test_every_occurrence_is_found_by_both_ways_of_searching(text, needle, finds):
    with patch.object(grounding, "MAX_FINDS", finds):
        found = list(grounding._occurrences(needle, text))
    assert found == [at for at in range(len(text)) if text.startswith(needle, at)]


@pytest.mark.parametrize(
    ("quote", "report", "expected"),
    [
        ("infiltrates", "It in\ufb01ltrates fat", "in\ufb01ltrates"),
        ("in\ufb01ltrates", "It infiltrates fat", "infiltrates"),
        ("R\xe4nder frei", "Die Ra\u0308nder frei", "Ra\u0308nder frei"),
        ("Ra\u0308nder frei", "Die R\xe4nder frei", "R\xe4nder frei"),
        ("HER2", "\uff28\uff25\uff32\uff12 positive", "\uff28\uff25\uff32\uff12"),
        ("identified", "identi\xad\nfied", "identi\xad\nfied"),
        ("\u80f8\u819c\u6d78\u6da6", "\u89c1\u80f8\u819c\u6d78\u6da6\u3002", "\u80f8\u819c\u6d78\u6da6"),
        ("\u5207\u7f18", "\u652f\u6c14\u7ba1\u5207\u7f18\u672a\u89c1\u764c", "\u5207\u7f18"),
    ],
)
def test_other_forms_of_the_same_characters_match(quote, report, expected):
    assert located_text(quote, report) == expected
