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
        ("classes: {a: x, b: [[1]]}", "class 'b' has no text"),
        ("classes: {a: x, b: }", "class 'b' has no text"),
        ("classes: {a: x, '': y}", "a class has no name"),
        ("classes: {a: x, a: y}", "line 1: the key 'a' appears twice"),
        ("classes: {ROUND: x, round: y}", "the classes 'ROUND' and 'round' differ only in case"),
        ("classes: {a: x, 'a ': y}", "the classes 'a' and 'a ' differ only in case"),
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


WORDS = [
    "yes",
    "no",
    "on",
    "off",
    "true",
    "null",
    "~",
    "010",
    "1e3",
    "0x1F",
    "1_000",
    "1.0",
    ".inf",
    "2024-99-99",
    "=",
    "1:30",
]


@pytest.mark.parametrize("word", WORDS)
def test_names_and_texts_stay_the_text_that_is_written(tmp_path, word):
    path = tmp_path / "classes.yaml"
    path.write_text(f"classes:\n  {word}: {word}\n  other: [{word}, x]\n")
    classes = load_classes(path)
    assert classes == {word: [word], "other": [word, "x"]}
    write_classes(classes, path)
    assert load_classes(path) == classes


def test_a_class_that_no_label_can_name_is_reported(tmp_path, caplog):
    (tmp_path / "classes.yaml").write_text("classes: {none: x, some: y}")
    assert load_classes(tmp_path / "classes.yaml") == {"none": ["x"], "some": ["y"]}
    assert "no slide can be of class 'none', because this word means a missing label" in caplog.text
