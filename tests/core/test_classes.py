import pytest

from pipelines.core.classes import load_classes, write_classes
from pipelines.core.errors import SettingsError


def test_classes_have_one_or_several_texts_and_keep_their_order(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("classes:\n  LUSC: [nests, keratin pearls]\n  LUAD: glands\n  1: number\n")
    assert load_classes(path) == {"LUSC": ["nests", "keratin pearls"], "LUAD": ["glands"], "1": ["number"]}


def test_written_classes_are_read_back_unchanged(tmp_path):
    classes = {"yes": ["a: b", "Übergang"], "no": ["[c]"]}
    write_classes(classes, tmp_path / "classes.yaml")
    assert load_classes(tmp_path / "classes.yaml") == classes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {a: x}", "1 class"),
        ("classes: {a: x, b: []}", "class 'b' has no text"),
        ("classes: {a: x, b: [1]}", "class 'b' has no text"),
        ("classes: {a: x, b: ' '}", "class 'b' has no text"),
        ("a: x\nb: y", "not a file of class texts"),
        ("classes: {a: x", "not a YAML file"),
    ],
)
def test_the_error_for_a_bad_file_states_the_problem_and_the_expected_layout(tmp_path, text, message):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_classes(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_the_error_for_a_missing_file_names_it(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml: no such file"):
        load_classes(tmp_path / "none.yaml")
