import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports.plain_text import plain_text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("in\ufb01ltrates the \ufb02oor", "infiltrates the floor"),
        ("identi\xad\nfied", "identified"),
        ("identi\xadfied", "identified"),
        ("moder-\nately differ-\r\n  entiated", "moderately differentiated"),
        ("well-\ndifferentiated", "well-differentiated"),
        ("non-\nsmall cell", "non-small cell"),
        ("pT2-\n\nNext", "pT2-\n\nNext"),
        ("A-\nB", "A-\nB"),
        ("Ra\u0308nder", "R\xe4nder"),
        ("1\u20132\xa0mm", "1-2 mm"),
        ("\uff28\uff25\uff32\uff12", "HER2"),
        ("plain text", "plain text"),
    ],
)
def test_text_gets_one_form(source, expected):
    assert plain_text(source).text == expected


def test_a_span_of_the_plain_text_is_mapped_to_the_source():
    source = "It in\ufb01l-\ntrates Ra\u0308nder."
    plain = plain_text(source)
    for word, original in [("infiltrates", "in\ufb01l-\ntrates"), ("R\xe4nder", "Ra\u0308nder"), ("It", "It")]:
        start = plain.text.index(word)
        left, right = plain.source_span(start, start + len(word))
        assert source[left:right] == original


@given(st.text(alphabet="ab-\n \ufb01\xad\u0308\xe4.", min_size=1, max_size=40))
def test_every_character_comes_from_its_place_in_the_source(source):
    plain = plain_text(source)
    last = 0
    for at, character in enumerate(plain.text):
        start, end = plain.source_span(at, at + 1)
        assert last <= start < end <= len(source)
        assert character in unicodedata.normalize("NFKC", source[start:end])
        last = start
