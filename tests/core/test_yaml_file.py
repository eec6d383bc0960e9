import pytest

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
