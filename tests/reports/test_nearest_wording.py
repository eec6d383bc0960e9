"""Backend ``local`` without a model: the rules find the clause, the packaged sentence encoder decides."""

import json

import pytest

from pipelines.core.question_files import load_questions
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends import Request, open_backend
from pipelines.reports.backends.nearest_wording import NearestWordingBackend, wordings
from pipelines.reports.grounding import locate

LUNG = load_questions("lung-histology")


@pytest.fixture(scope="module")
def backend():
    opened = open_backend(LUNG, DescribeReportsSettings(backend="local"), DescribeReportsResources(device="cpu"))
    assert isinstance(opened, NearestWordingBackend)
    return opened


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


def test_plain_sentences_are_quoted_and_mostly_answered_correctly(backend):
    entries = [backend.answer(f"Lung, lobectomy. {sentence} The patient is well.")[name] for name, sentence, _ in PLAIN]
    assert [entry["evidence"] for entry in entries] == [sentence for _, sentence, _ in PLAIN]
    n_correct = sum(entry["answer"] == answer for entry, (_, _, answer) in zip(entries, PLAIN, strict=True))
    assert n_correct >= 6  # by chance three or four


def test_the_encoder_decides_and_not_the_rules(backend, monkeypatch):
    (presence,) = (question for question in LUNG.questions if question.id == "pleural_invasion")
    swapped = {"present": wordings(presence, "absent"), "absent": wordings(presence, "present")}
    vectors = {value: backend._encoder(texts) for value, texts in swapped.items()}
    monkeypatch.setitem(backend._wordings, "pleural_invasion", vectors)
    assert backend.answer("Pleural invasion: not identified.")["pleural_invasion"]["answer"] == "present"


def test_every_answer_to_an_irrelevant_report_is_unknown(backend):
    assert {entry["answer"] for entry in backend.answer("The patient coughs.").values()} == {"unknown"}


def test_a_phrase_is_quoted(backend):
    report = "Microscopic: solid nests with keratin pearls and necrosis."
    entry = backend.answer(report)["growth_pattern"]
    assert locate(entry["evidence"], report)


def test_replies_come_in_order_and_are_deterministic(backend):
    requests = [Request(text, []) for text in ("Pleural invasion: present.", "", "Margins are free of tumor.")]
    first, second = (list(backend.complete(requests)) for _ in range(2))
    assert [index for index, _ in first] == [0, 1, 2]
    assert [reply.text for _, reply in first] == [reply.text for _, reply in second]
    assert json.loads(first[0][1].text)["pleural_invasion"]["answer"] == "present"
