from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.item_names import file_name, name_problem, printable, safe_id

ANY_TEXT = st.text(st.characters(), max_size=400) | st.text(alphabet="a_/.. \\0\n\udcff\ud800\u00e9", max_size=30)
"""Also lone surrogates and control characters."""


@pytest.mark.parametrize(
    "name", ["with space", "Schnitt-\u00c4-\u5207\u7247", "site/a/b", "007", "a.b", "[x] & y", "console", "a:b"]
)
def test_usual_ids_have_no_problem(name):
    assert name_problem(name) is None
    assert safe_id(name) == name


@given(name=ANY_TEXT.filter(bool))
def test_a_recorded_id_can_be_stored_and_is_a_short_path_inside_its_folder(name):
    recorded = safe_id(name)
    assert recorded.encode().decode() == recorded
    assert len(recorded.encode()) <= 200
    assert not {"", ".", ".."} & set(recorded.split("/"))
    assert recorded.isprintable() or not any(letter in recorded for letter in "\0\r\n\u2028\x85")


@given(name=ANY_TEXT.filter(bool))
def test_any_id_has_a_lock_name_that_file_systems_accept(name):
    if name_problem(name) is None:
        assert len(file_name(name).encode()) <= 200
        assert "/" not in file_name(name)


@given(names=st.sets(st.text(alphabet="a_/", min_size=1, max_size=8), min_size=2, max_size=20))
def test_different_ids_have_different_lock_names(names):
    for one, other in combinations(names, 2):
        assert file_name(one) != file_name(other)


def test_long_nested_ids_have_different_lock_names():
    long = "/".join(["x" * 60] * 8)
    assert file_name(long + "a") != file_name(long + "b")
    assert len(file_name(long)) < 100


@given(text=ANY_TEXT)
def test_printable_text_is_utf_8_on_one_line(text):
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
