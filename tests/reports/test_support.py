"""A quote proves an answer only if the clauses that it is part of say so."""

import pytest

from pipelines.core.question_files import load_questions
from pipelines.reports.answers import ground
from pipelines.reports.reply_reader import BackendAnswer

LUNG = load_questions("lung-histology")
QUESTIONS = {question.id: question for question in LUNG.questions}


def grounded(question, answer, quote, report):
    given = BackendAnswer(answer=answer, evidence=quote)
    return ground(QUESTIONS[question], given, report, language=LUNG.language)


@pytest.mark.parametrize(
    ("question", "answer", "quote", "report"),
    [
        ("pleural_invasion", "present", "pleural invasion is identified", "No pleural invasion is identified."),
        ("pleural_invasion", "present", "invade the pleura", "The tumor does not invade the pleura."),
        ("pleural_invasion", "present", "Pleural invasion", "Pleural invasion: absent."),
        ("pleural_invasion", "present", "Pleural invasion", "Pleural invasion cannot be excluded."),
        ("margins", "involved", "margins are involved", "None of the margins are involved."),
        ("margins", "involved", "Margins: [ ] Involved", "Margins: [ ] Involved [X] Uninvolved"),
        ("histologic_type", "squamous_cell", "squamous cell carcinoma", "History of squamous cell carcinoma."),
        (
            "vascular_invasion",
            "present",
            "Lymphovascular invasion: Margin",
            "Lymphovascular invasion: Margin status: Free",
        ),
        (
            "vascular_invasion",
            "present",
            "Vascular invasion:\nPleural invasion: Present",
            "Vascular invasion:\nPleural invasion: Present",
        ),
        (
            "vascular_invasion",
            "absent",
            "Absent\nVascular invasion: Present",
            "Pleural invasion: Absent\nVascular invasion: Present",
        ),
        ("pleural_invasion", "present", "Margins are free", "The pleura is smooth. Slides were cut. Margins are free."),
        ("growth_pattern", "papillary fronds", "solid nests", "The tumor grows in solid nests."),
        ("growth_pattern", "solid nests with mucin", "solid nests", "The tumor grows in solid nests."),
        ("growth_pattern", "acinar glands", "acinar glands", "No acinar glands are seen."),
    ],
)
def test_a_contradicted_answer_is_marked_and_not_grounded(question, answer, quote, report):
    result = grounded(question, answer, quote, report)
    assert (result.grounded, result.support) == (False, "contradicted")
    assert report[result.evidence_start : result.evidence_end] == quote


@pytest.mark.parametrize(
    ("question", "answer", "quote", "report"),
    [
        ("pleural_invasion", "absent", "pleural invasion is identified", "No pleural invasion is identified."),
        ("pleural_invasion", "absent", "Not identified", "Pleural invasion: Not identified."),
        (
            "pleural_invasion",
            "present",
            "not identified. Pleural invasion: present",
            "Lymph: not identified. Pleural invasion: present.",
        ),
        ("margins", "clear", "[X] Uninvolved", "Margins: [ ] Involved [X] Uninvolved"),
        ("margins", "involved", "R1", "pT2 pN0 R1"),
        ("histologic_type", "adenocarcinoma", "adenocarcinoma", "Invasive adenocarcinoma."),
        ("growth_pattern", "solid nests", "SOLID NESTS", "The tumor grows in SOLID NESTS."),
        ("growth_pattern", "solid nest", "solid nests", "The tumor grows in solid nests."),
        (
            "vascular_invasion",
            "absent",
            "Not identified",
            "Margins: Not identified. Vascular invasion: Not identified.",
        ),
    ],
)
def test_an_answer_that_its_clause_gives_is_supported(question, answer, quote, report):
    result = grounded(question, answer, quote, report)
    assert (result.grounded, result.support) == (True, "supported")


@pytest.mark.parametrize(
    ("question", "answer", "quote", "report"),
    [
        ("pleural_invasion", "present", "Rippenfell infiltriert", "Der Tumor hat das Rippenfell infiltriert."),
        ("pleural_invasion", "absent", "The pleura looks smooth", "The pleura looks smooth."),
        ("growth_pattern", "rosettes of cells", "rosettes of cells", "There are rosettes of cells."),
    ],
)
def test_an_answer_that_the_words_of_the_set_do_not_decide_is_kept(question, answer, quote, report):
    result = grounded(question, answer, quote, report)
    assert (result.grounded, result.support) == (True, "not checkable")


@pytest.mark.parametrize("quote", ["is", "tumor", "present", "No", "the"])
def test_one_common_word_is_no_quote(quote):
    result = grounded("pleural_invasion", "present", quote, "No tumor is present in the pleura, the lung.")
    assert (result.grounded, result.support, result.evidence_start) == (False, None, None)


def test_a_quote_is_taken_where_it_supports_the_answer():
    report = "Pleural invasion: Present. Vascular invasion: Present."
    result = grounded("vascular_invasion", "present", "invasion: Present", report)
    assert (result.evidence_start, result.support) == (report.rindex("invasion"), "supported")
