import pytest

from pipelines.core.classes import load_classes, write_classes
from pipelines.core.errors import SettingsError


def test_a_class_has_one_text_or_several_in_the_order_of_the_file(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("classes:\n  LUSC: [nests, keratin pearls]\n  LUAD: glands\n  1: number\n")
    assert load_classes(path) == {"LUSC": ["nests", "keratin pearls"], "LUAD": ["glands"], "1": ["number"]}


def test_written_classes_are_read_back_equal(tmp_path):
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
def test_what_is_wrong_is_said_with_the_form_expected(tmp_path, text, message):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=message) as caught:
        load_classes(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml: no such file"):
        load_classes(tmp_path / "none.yaml")
