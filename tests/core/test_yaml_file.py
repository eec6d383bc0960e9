from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import SettingsError
from pipelines.core.yaml_file import read_yaml


def test_a_file_of_comments_is_empty(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# tile_size: 300\n")
    assert read_yaml(path, expected="'name: value' lines") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: 1\nb: [2\n", r"a\.yaml: not a YAML file, line 3"),
        (b"- a\n", r"a\.yaml: expected 'name: value' lines"),
        ("name: m\u00fcller".encode("latin-1"), r"a\.yaml: not UTF-8 text"),
    ],
    ids=["broken", "a list", "another encoding"],
)
def test_the_error_for_a_bad_file_states_the_problem(tmp_path, content, message):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_yaml(path, expected="'name: value' lines")


def test_settings_keep_their_types(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("keep_all: yes\nfolds: 5\nlr: 0.1\ncohort: null\n")
    assert read_yaml(path, expected="") == {"keep_all": True, "folds": 5, "lr": 0.1, "cohort": None}


@pytest.mark.parametrize("only_text", [False, True])
@given(data=st.binary(max_size=100) | st.text(alphabet="ab01-:?[]{},&*<!|>#'\"\n ~_.", max_size=60).map(str.encode))
def test_any_bytes_give_a_mapping_or_an_error(tmp_path_factory, only_text, data):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_bytes(data)
    with suppress(SettingsError):
        assert isinstance(read_yaml(path, expected="", only_text=only_text), dict)


@pytest.mark.parametrize("text", ["a: 2024-99-99", "[" * 20000, "a: {b: 1, c: 2, b: 3}"])
def test_values_that_cannot_be_read_are_an_error(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"a\.yaml: not a"):
        read_yaml(path, expected="")
