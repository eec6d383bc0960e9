import pytest
import yaml

from pipelines.core.errors import SettingsError
from pipelines.core.question_files import load_questions, shipped_sets, write_questions
from pipelines.core.settings import DescribeReportsSettings
from pipelines.core.vocabulary import Language

PLEURA = """
name: mine
title: My questions
questions:
  - id: pleura
    question: Is the pleura invaded?
    prompt: pleural invasion
    kind: presence
    values:
      present: {meaning: tumor in the pleura, phrase: pleura invaded}
      absent: {meaning: pleura free, phrase: pleura free}
"""


def write(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_sets())
def test_every_shipped_set_loads_and_has_the_name_of_its_file(name):
    assert load_questions(name).name == name


def test_the_published_lung_set_asks_the_six_questions_of_the_paper_in_order():
    assert load_questions("lung-paper").ids == (
        "differentiation",
        "air_spaces",
        "vascular_invasion",
        "pleural_invasion",
        "adjacent_invasion",
        "margins",
    )


def test_the_lung_set_is_the_published_one_with_the_histological_type():
    lung, paper = load_questions("lung"), load_questions("lung-paper")
    assert lung.questions[:6] == paper.questions
    assert lung.ids == (*paper.ids, "histologic_type")
    assert list(lung.questions[6].values) == [
        *("adenocarcinoma", "squamous_cell", "adenosquamous", "large_cell", "small_cell", "other"),
    ]


def test_the_lung_set_is_the_default():
    assert DescribeReportsSettings().questions == "lung"


def test_a_set_can_extend_another():
    assert load_questions("lung-histology").ids == (*load_questions("lung").ids, "growth_pattern")


def test_a_file_can_extend_a_file_in_the_same_folder(tmp_path):
    write(tmp_path, PLEURA)
    (tmp_path / "more.yaml").write_text("extends: mine.yaml\nname: more\ntitle: More\nquestions: []\n")
    assert load_questions(tmp_path / "more.yaml").ids == ("pleura",)


def extended(folder, base="", child=""):
    write(folder, PLEURA + base)
    (folder / "more.yaml").write_text(f"extends: mine.yaml\nname: more\ntitle: More\n{child}", encoding="utf-8")
    return load_questions(folder / "more.yaml")


def test_a_set_keeps_the_language_of_the_set_that_it_extends(tmp_path):
    language = extended(tmp_path, "language: {negation: [kein*]}\n").language
    assert language.negation == ("kein*",)
    assert language.denial == Language().denial


def test_a_set_can_change_one_list_of_the_language_that_it_keeps(tmp_path):
    base = "language: {negation: [kein*], denial: [nein]}\n"
    language = extended(tmp_path, base, "language: {negation: [ohne]}\n").language
    assert (language.negation, language.denial) == (("ohne",), ("nein",))


def test_a_question_with_the_same_id_replaces_the_one_of_the_base_in_its_place(tmp_path):
    path = tmp_path / "mine.yaml"
    own = "\n".join(f"  - {{id: {name}, question: Mine, prompt: p, kind: phrase}}" for name in ("air_spaces", "new"))
    path.write_text(f"extends: lung-paper\nname: mine\ntitle: Mine\nquestions:\n{own}\n")
    questions = load_questions(path)
    assert questions.ids == (*load_questions("lung-paper").ids, "new")
    assert questions.questions[1].question == "Mine"


def test_two_own_questions_with_one_id_are_an_error(tmp_path):
    own = "  - {id: a, question: q, prompt: p, kind: phrase}\n" * 2
    (tmp_path / "mine.yaml").write_text(f"extends: lung\nname: mine\ntitle: Mine\nquestions:\n{own}")
    with pytest.raises(SettingsError, match="appears twice"):
        load_questions(tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", ["german", "dutch"])
def test_a_shipped_language_replaces_every_list(tmp_path, name):
    language = load_questions(write(tmp_path, f"language: {name}\n{PLEURA}")).language
    assert not [field for field, words in language if words == getattr(Language(), field)]


def test_a_set_can_extend_a_shipped_language(tmp_path):
    language = load_questions(write(tmp_path, f"language: {{extends: german, family: [Tante]}}\n{PLEURA}")).language
    assert language.family == ("Tante",)
    assert "ohne" in language.negation


@pytest.mark.parametrize("language", ["klingon", "{extends: klingon}", "{extends: [german]}"])
def test_an_unknown_language_is_an_error_that_names_the_known_ones(tmp_path, language):
    with pytest.raises(SettingsError, match=r"language: .* is not known") as caught:
        load_questions(write(tmp_path, f"language: {language}\n{PLEURA}"))
    assert caught.value.hint == "give dutch, english, german, or lists of words"


def test_a_written_set_is_read_back_equal(tmp_path):
    questions = load_questions("lung-histology")
    write_questions(questions, tmp_path / "questions.yaml")
    assert load_questions(tmp_path / "questions.yaml") == questions


def test_any_change_changes_the_fingerprint(tmp_path):
    before = load_questions(write(tmp_path, PLEURA)).fingerprint
    assert load_questions(write(tmp_path, PLEURA.replace("pleura free}", "pleura clear}"))).fingerprint != before
    assert load_questions(write(tmp_path, with_wordings("[in the pleura]", "[]"))).fingerprint != before


def test_each_answer_has_a_phrase():
    question = load_questions("lung").questions[3]
    assert [question.phrase(answer) for answer in question.answers] == [
        "pleural invasion present",
        "no pleural invasion",
        "Unknown",
    ]


@pytest.mark.parametrize("name", shipped_sets())
def test_every_answer_of_a_shipped_set_has_five_wordings(name):
    for question in load_questions(name).questions:
        assert {value: len(allowed.texts) for value, allowed in question.values.items()} == dict.fromkeys(
            question.values, 5
        )


@pytest.mark.parametrize("name", shipped_sets())
def test_a_wording_of_a_shipped_set_is_one_line_without_a_full_stop(name):
    for question in load_questions(name).questions:
        for allowed in question.values.values():
            assert [text for text in allowed.texts if text != " ".join(text.split()) or text.endswith(".")] == []


def with_wordings(present, absent="[pleura clear]"):
    text = PLEURA.replace("phrase: pleura invaded}", f"phrase: pleura invaded, wordings: {present}}}")
    return text.replace("phrase: pleura free}", f"phrase: pleura free, wordings: {absent}}}")


def test_the_texts_of_an_answer_are_its_phrase_and_then_its_wordings(tmp_path):
    values = load_questions(write(tmp_path, with_wordings("[in the pleura, PL1]"))).questions[0].values
    assert values["present"].texts == ("pleura invaded", "in the pleura", "PL1")
    assert values["absent"].texts == ("pleura free", "pleura clear")


def test_an_answer_without_wordings_has_its_phrase_as_its_only_text(tmp_path):
    present = load_questions(write(tmp_path, PLEURA)).questions[0].values["present"]
    assert present.texts == ("pleura invaded",)


@pytest.mark.parametrize(
    ("present", "key", "earlier"),
    [
        ("[Pleura  INVADED]", "present.wordings.0", "present.phrase"),
        ("[in it, in it.]", "present.wordings.1", "present.wordings.0"),
        ("[pleura free]", "absent.phrase", "present.wordings.0"),
        ("[Pleura clear.]", "absent.wordings.0", "present.wordings.0"),
        ("[unknown]", "present.wordings.0", "unknown"),
    ],
    ids=["the phrase", "twice", "the phrase of another answer", "a wording of another answer", "unknown"],
)
def test_a_wording_that_appears_twice_in_a_question_is_an_error(tmp_path, present, key, earlier):
    with pytest.raises(SettingsError) as caught:
        load_questions(write(tmp_path, with_wordings(present)))
    assert f"questions.pleura: values.{key}: " in caught.value.message
    assert f"is already the wording of {earlier};" in f"{caught.value.message};"


@pytest.mark.parametrize(
    ("wordings", "problem"), [("PL1", "wordings: not a list"), ("['']", "wordings.0: must not be empty")]
)
def test_wordings_are_a_list_of_texts_that_are_not_empty(tmp_path, wordings, problem):
    with pytest.raises(SettingsError, match=problem):
        load_questions(write(tmp_path, with_wordings(wordings)))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("      absent: {meaning: pleura free, phrase: pleura free}\n", "", "present and absent"),
        ("title: My questions\n", "", "title"),
        ("phrase: pleura free}", "phrase: ''}", "questions.pleura.values.absent.phrase"),
    ],
)
def test_an_error_names_the_file_and_the_field(tmp_path, old, new, expected):
    with pytest.raises(SettingsError) as caught:
        load_questions(write(tmp_path, PLEURA.replace(old, new)))
    assert "mine.yaml" in caught.value.message
    assert expected in caught.value.message


def test_a_duplicate_id_is_an_error(tmp_path):
    question = PLEURA.split("questions:")[1]
    with pytest.raises(SettingsError, match="'pleura' appears twice"):
        load_questions(write(tmp_path, PLEURA + question))


def test_an_example_must_quote_its_own_report(tmp_path):
    text = PLEURA + "    examples:\n      - {report: Pleura free., answer: absent, evidence: pleura is free}\n"
    with pytest.raises(SettingsError, match="verbatim"):
        load_questions(write(tmp_path, text))


def test_an_invalid_regular_expression_is_an_error_when_the_file_is_read(tmp_path):
    with pytest.raises(SettingsError, match=r"mine.yaml.*regular expression"):
        load_questions(write(tmp_path, PLEURA + "    rules: {about: ['/pleura(/']}\n"))


def test_invalid_yaml_is_an_error_with_its_line(tmp_path):
    with pytest.raises(SettingsError, match=r"mine.yaml.*line 3"):
        load_questions(write(tmp_path, "name: mine\ntitle: [\n"))


def test_an_unknown_name_lists_the_shipped_sets():
    with pytest.raises(SettingsError) as caught:
        load_questions("lungs")
    assert "lung" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("extends: a.yaml\nname: a\ntitle: A\n", "extends this file"),
        ("extends: b.yaml\nname: a\ntitle: A\n", "extends this file"),
        ("extends: [lung]\nname: a\ntitle: A\n", "extends: not text"),
        ("extends: lung\nname: a\ntitle: A\nquestions: 3\n", "questions: not a list"),
        ("extends: lung\nname: a\ntitle: A\nquestions:\n", "questions: not a list"),
        (f"extends: {'x' * 5_000}.yaml\nname: a\ntitle: A\n", "no such question set"),
    ],
    ids=["itself", "in a circle", "a list", "a number", "nothing", "a long name"],
)
def test_a_set_that_cannot_be_extended_is_an_error(tmp_path, text, problem):
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "b.yaml").write_text("extends: a.yaml\nname: b\ntitle: B\nquestions: []\n")
    with pytest.raises(SettingsError, match=problem):
        load_questions(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    "term",
    [" ", "/x*/", "/(?i)x/", "/(?P<a>x)/", r"/(x)\1/", "/a{99999999999}/", "/" + "(" * 5_000 + ")" * 5_000 + "/"],
)
def test_a_term_that_cannot_be_searched_for_together_with_others_is_an_error(tmp_path, term):
    value = {"meaning": "m", "phrase": "p", "terms": [term]}
    question = {"id": "a", "question": "q", "prompt": "p", "kind": "choice", "values": {"x": value, "y": value}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"name": "a", "title": "A", "questions": [question]}))
    with pytest.raises(SettingsError, match=r"questions\.a\.values\.x\.terms\.0"):
        load_questions(tmp_path / "a.yaml")


def test_words_and_numbers_stay_the_text_that_is_written(tmp_path):
    values = "      yes: {meaning: 010, phrase: no, terms: [yes, 1e3, on]}\n      no: {meaning: null, phrase: off}\n"
    text = PLEURA.replace("kind: presence", "kind: choice").partition("      present:")[0] + values
    questions = load_questions(write(tmp_path, text))
    yes, no = questions.questions[0].values.values()
    assert list(questions.questions[0].values) == ["yes", "no"]
    assert (yes.meaning, yes.phrase, yes.terms) == ("010", "no", ("yes", "1e3", "on"))
    assert (no.meaning, no.phrase) == ("null", "off")
    write_questions(questions, tmp_path / "written.yaml")
    assert load_questions(tmp_path / "written.yaml") == questions


def test_a_key_that_appears_twice_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"line 4: the key 'title' appears twice"):
        load_questions(write(tmp_path, PLEURA.replace("title: My questions", "title: a\ntitle: b")))
