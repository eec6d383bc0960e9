import pytest

from pipelines.core.errors import SettingsError
from pipelines.core.yaml_file import read_yaml


def test_a_file_of_comments_holds_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# tile_size: 300\n")
    assert read_yaml(path, expected="'name: value' lines") == {}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: 1\nb: [2\n", r"a\.yaml: not a YAML file, line 3"),
        (b"- a\n", r"a\.yaml: expected 'name: value' lines"),
        ("name: m\u00fcller".encode("latin-1"), r"a\.yaml: not UTF-8 text"),
    ],
    ids=["broken", "a list", "another encoding"],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, complaint):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint):
        read_yaml(path, expected="'name: value' lines")
