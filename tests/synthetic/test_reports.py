import re

import pytest

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.rules import RulesBackend
from pipelines.synthetic.patients import FINDINGS, LABELS, UNKNOWN, draw_patients
from pipelines.synthetic.phrases import GROWTH_PATTERN, WORDINGS
from pipelines.synthetic.reports import HEADER, truth_row, write_report
from tests.test_examples import EXAMPLES

PATIENTS = [patient for seed in range(4) for patient in draw_patients(24, seed)]
REPORTS = [(patient, write_report(patient, seed=1)) for patient in PATIENTS]

SUBJECT = {
    "differentiation": r"differentiated|histologic grade|grade [123]",
    "air_spaces": r"air spaces|stas\b",
    "vascular_invasion": r"vascular invasion|blood vessels|veins|lymphovascular",
    "necrosis": r"necro",
    "pleural_invasion": r"pleura",
    "adjacent_invasion": r"chest wall|mediastin|adjacent|confined to the lung",
    "margins": r"margin",
}
"""Words that occur only in sentences about the finding."""

VALUE = {
    ("differentiation", "well"): r"well differentiated|grade: g1",
    ("differentiation", "moderate"): r"moderately differentiated|grade: g2",
    ("differentiation", "poor"): r"poorly differentiated|grade: g3",
    ("margins", "clear"): r"margins are free|margins: negative|margins are clear",
    ("margins", "involved"): r"margin is involved|margins: positive|present at the parenchymal resection margin",
}


def normalized(text):
    return " ".join(text.lower().split())


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_report_mentions_a_finding_exactly_when_it_states_it(finding):
    for patient, report in REPORTS:
        mentioned = re.search(SUBJECT[finding], normalized(report)) is not None
        assert mentioned == (patient.stated[finding] != UNKNOWN), report


def test_a_report_states_the_true_grade_and_margins_and_no_others():
    for patient, report in REPORTS:
        for (finding, value), words in VALUE.items():
            stated = re.search(words, normalized(report)) is not None
            assert stated == (patient.stated[finding] == value), report


@pytest.mark.parametrize("finding", [name for name, odds in FINDINGS.items() if "present" in odds])
def test_absent_findings_are_negated_and_present_ones_are_not(finding):
    negation = r"\b(no|not|absent|free|confined)\b"
    for value, sentences in WORDINGS[finding].items():
        for sentence in sentences:
            assert (re.search(negation, sentence.lower()) is not None) == (value == "absent"), sentence


def test_the_growth_pattern_in_a_report_is_the_drawn_one():
    words = {"glandular": r"gland|acinar|lumina", "keratinizing": r"keratin|squamous"}
    for patient, report in REPORTS:
        other = next(label for label in LABELS if label != patient.label)
        assert re.search(words[patient.label], normalized(report))
        assert not re.search(words[other], normalized(report)), report
        assert any(normalized(sentence) in normalized(report) for sentence in GROWTH_PATTERN[patient.label])


def test_the_histological_type_that_the_rules_read_is_the_drawn_one():
    rules = RulesBackend(load_questions("lung"))
    types = {"glandular": "adenocarcinoma", "keratinizing": "squamous_cell"}
    for patient, report in REPORTS:
        assert rules.answer(report)["histologic_type"]["answer"] == types[patient.label], report


@pytest.mark.parametrize(
    ("finding", "value", "sentence"),
    [(f, value, text) for f, values in WORDINGS.items() for value, texts in values.items() for text in texts],
)
def test_the_rules_read_every_wording(finding, value, sentence):
    rules = RulesBackend(load_questions(EXAMPLES / "demo-questions.yaml"))
    report = f"The tumor is firm. {sentence.format(distance=2.1)} The specimen was fixed in formalin."
    assert rules.answer(report)[finding]["answer"] == value


def test_a_report_states_what_is_true_or_nothing():
    for patient in PATIENTS:
        assert all(stated in (patient.findings[name], UNKNOWN) for name, stated in patient.stated.items())


def test_every_report_opens_with_the_word_synthetic():
    assert HEADER == "SYNTHETIC REPORT - NOT A REAL PATIENT"
    assert all(report.startswith(HEADER + "\n") for _, report in REPORTS)


def test_every_value_occurs_and_wording_varies():
    for finding, odds in FINDINGS.items():
        assert {patient.stated[finding] for patient in PATIENTS} == {*odds, UNKNOWN}
    assert len({normalized(report) for _, report in REPORTS}) == len(REPORTS)
    assert any(line.isupper() for _, report in REPORTS for line in report.splitlines()[1:])


def test_the_truth_row_has_one_value_per_finding():
    patient = PATIENTS[0]
    row = truth_row(patient)
    assert list(row) == ["report_id", "patient_id", *FINDINGS, "growth"]
    assert row["growth"] == patient.label
    assert row["margins"] == patient.stated["margins"]
