"""The local backend without a model named: rules find the clause, the packaged sentence encoder decides."""

import json

import pytest

from pipelines.core.questions import load_questions
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends import Request, open_backend
from pipelines.reports.backends.nearest import NearestBackend, wordings
from pipelines.reports.grounding import locate

LUNG = load_questions("lung-histology")


@pytest.fixture(scope="module")
def backend():
    found = open_backend(LUNG, DescribeReportsSettings(backend="local"), device="cpu")
    assert isinstance(found, NearestBackend)
    return found


PLAIN = [
    ("pleural_invasion", "Visceral pleural invasion: present.", "present"),
    ("pleural_invasion", "Pleural invasion: not identified.", "absent"),
    ("vascular_invasion", "Vascular invasion: absent.", "absent"),
    ("vascular_invasion", "Vascular invasion is identified.", "present"),
    ("margins", "The resection margins are free of tumor.", "clear"),
    ("margins", "The bronchial margin is involved by carcinoma.", "involved"),
    ("differentiation", "Poorly differentiated adenocarcinoma.", "poor"),
    ("differentiation", "Well differentiated adenocarcinoma.", "well"),
]


def test_plain_sentences_are_quoted_and_most_are_understood(backend):
    entries = [backend.answer(f"Lung, lobectomy. {said} The patient is well.")[name] for name, said, _ in PLAIN]
    assert [entry["evidence"] for entry in entries] == [said for _, said, _ in PLAIN]
    right = sum(entry["answer"] == answer for entry, (_, _, answer) in zip(entries, PLAIN, strict=True))
    assert right >= 6  # by chance three or four


def test_the_encoder_decides_whatever_the_rules_made_of_the_clause(backend, monkeypatch):
    (presence,) = (question for question in LUNG.questions if question.id == "pleural_invasion")
    swapped = {"present": wordings(presence, "absent"), "absent": wordings(presence, "present")}
    vectors = {value: backend._encoder(texts) for value, texts in swapped.items()}
    monkeypatch.setitem(backend._wordings, "pleural_invasion", vectors)
    assert backend.answer("Pleural invasion: not identified.")["pleural_invasion"]["answer"] == "present"


def test_a_report_that_says_nothing_is_unknown(backend):
    assert {entry["answer"] for entry in backend.answer("The patient coughs.").values()} == {"unknown"}


def test_a_phrase_is_quoted(backend):
    report = "Microscopic: solid nests with keratin pearls and necrosis."
    entry = backend.answer(report)["growth_pattern"]
    assert locate(entry["evidence"], report)


def test_replies_come_in_order_and_asking_again_changes_nothing(backend):
    requests = [Request(text, []) for text in ("Pleural invasion: present.", "", "Margins are free of tumor.")]
    first, again = (list(backend.complete(requests)) for _ in range(2))
    assert [index for index, _ in first] == [0, 1, 2]
    assert [reply.text for _, reply in first] == [reply.text for _, reply in again]
    assert json.loads(first[0][1].text)["pleural_invasion"]["answer"] == "present"
