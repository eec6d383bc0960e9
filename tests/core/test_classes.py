import re

import pytest

from pipelines.core.classes import load_class_texts, load_classes, write_classes
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


def class_texts(tmp_path, text):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    return load_class_texts(path)


def test_every_text_is_filled_into_every_template_and_equal_results_count_once(tmp_path):
    found = class_texts(
        tmp_path,
        """
classes: {a: [glands, mucin, glands], b: 'keratin {x}'}
templates: ["{}.", "an image of {name}, {name}"]
other: [normal lung]
""",
    )
    assert found.classes == {
        "a": ["glands.", "an image of glands, glands", "mucin.", "an image of mucin, mucin"],
        "b": ["keratin {x}.", "an image of keratin {x}, keratin {x}"],
    }
    assert found.other == ["normal lung.", "an image of normal lung, normal lung"]


@pytest.mark.parametrize("text", ["{}", "{name}", "{} {name}"])
def test_a_text_with_the_placeholder_itself_is_not_filled_again(tmp_path, text):
    found = class_texts(tmp_path, f"classes: {{a: '{text}', b: x}}\ntemplates: ['see {{}}']\n")
    assert found.classes["a"] == [f"see {text}"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: {a: x, b: X.}", "the classes 'a' and 'b' have the same texts"),
        ("classes: {a: [x, y], c: z, b: [y, ' x', Y]}", "the classes 'a' and 'b' have the same texts"),
        ("classes: {a: x, b: y}\nother: [z, x]", "a text of class 'a' is also in 'other'"),
        ("classes: {a: x, b: y}\nother: []", "the key 'other' has no text"),
        ("classes: {a: x, b: y}\nother: {c: z}", "the key 'other' has no text"),
        ("classes: {a: x, b: y}\ntemplates: an image", "'an image' has no place for the text of a class"),
        ("classes: {a: x, b: y}\ntemplates: ['{}', '{text}']", "'{text}' has no place for the text of a class"),
        ("classes: {a: x, b: y}\ntemplates: ", "the key 'templates' has no text"),
        ("classes: {a: x, b: y}\ntemplate: ['{}']", "not a file of class texts"),
        ("classes: [a, b]\nother: x", "not a file of class texts"),
    ],
)
def test_texts_that_cannot_be_used_are_refused_with_the_class(tmp_path, text, message):
    with pytest.raises(SettingsError, match=re.escape(message)) as caught:
        class_texts(tmp_path, text)
    assert caught.value.hint


def test_two_classes_may_share_some_texts(tmp_path):
    assert class_texts(tmp_path, "classes: {a: [x, y], b: [y, z]}").other == []


def test_a_model_that_does_not_use_other_tissue_refuses_its_texts(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("classes: {a: x, b: y}\nother: normal lung\n")
    with pytest.raises(SettingsError, match=r"classes\.yaml: other: .* without --run"):
        load_classes(path)
