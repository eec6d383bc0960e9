import random
from contextlib import suppress
from itertools import pairwise

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.classes import load_classes
from pipelines.core.errors import FiveError, SettingsError
from pipelines.core.question_files import load_questions
from pipelines.core.yaml_file import read_yaml
from pipelines.reports.backends.rules import RulesBackend


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


DEEP = {
    "lists": "[" * 50_000,
    "closed lists": "a: " + "[" * 5_000 + "]" * 5_000,
    "mappings": "{a: " * 50_000,
    "indented": "\n".join(" " * depth + "a:" for depth in range(2_000)),
}
BAD_VALUES = {
    "a date": "name: 2020-13-45",
    "a time zone": "name: 2001-12-14t21:59:43.10-99:99",
    "a long number": "name: " + "9" * 5_000,
    "half a surrogate": r'name: "\ud800"',
    "half a surrogate as key": r'"\udfff": 1',
    "a tagged number": "name: !!int x",
    "a tagged time": "name: !!timestamp x",
    "an empty number": "name: !!int ''",
    "a tagged truth": "name: !!bool x",
    "a Python object": "!!python/object/apply:os.system [echo]",
    "a control character": "a: \0",
    "itself": "questions: &a [*a]",
    "an alias bomb": "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in pairwise("abcdefghi")),
    "a merge bomb": "a: &a {x: 1}\n"
    + "\n".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}" for a, b in pairwise("abcdefghijk")),
    "a set": "questions: !!set {a, b}",
}
READERS = {"questions": load_questions, "classes": load_classes}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_deep_nesting_is_an_error_that_says_so(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"a\.yaml: nested too deeply"):
        read_yaml(tmp_path / "a.yaml", expected="x")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS.keys())
@pytest.mark.parametrize("text", [*DEEP.values(), *BAD_VALUES.values()], ids=[*DEEP, *BAD_VALUES])
def test_bad_values_are_errors_of_every_reader(tmp_path, read, text):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(FiveError, match=r"a\.yaml"):
        read(tmp_path / "a.yaml")


def test_a_folder_and_a_file_that_is_too_large_are_errors(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        read_yaml(tmp_path, expected="x")
    (tmp_path / "a.yaml").write_text("#" * 5_000_001)
    with pytest.raises(SettingsError, match="larger than"):
        read_yaml(tmp_path / "a.yaml", expected="x")


SHIPPED = {name: load_questions(name) for name in ("lung", "breast")}
PIECES = st.sampled_from(
    [
        *("a: ", "- ", "name: ", "title: ", "questions: ", "extends: ", "lung", "classes: ", "values: ", "rules: "),
        *("kind: ", "presence", "&a ", "*a", "<<: ", "!!set ", "!!int ", "null", "1", "~", "terms: "),
        *"[]{}:,-&*!|>'\"%@`#?<\n\t ",
    ]
)


@given(st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join))
def test_any_text_as_question_set_or_classes_gives_a_result_or_one_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in READERS.values():
        with suppress(FiveError):
            read(path)


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["/(/", "/x*/", "*"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(json_like, st.integers(0, 10**9))
def test_a_question_set_with_any_part_replaced_gives_a_set_or_one_error(tmp_path_factory, value, seed):
    data = SHIPPED["lung"].model_dump(mode="json", exclude_defaults=True)
    place, draw = data, random.Random(seed)
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not isinstance(place[key], (dict, list)) or not place[key] or draw.random() < 0.3:
            break
        place = place[key]
    place[key] = value
    path = tmp_path_factory.getbasetemp() / "replaced.yaml"
    path.write_text(yaml.safe_dump(data))
    with suppress(FiveError):
        RulesBackend(load_questions(path)).answer("Poorly differentiated carcinoma. No pleural invasion. x.")


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
    with pytest.raises(SettingsError, match=r"a\.yaml: (not a|contains a value|nested)"):
        read_yaml(path, expected="")
