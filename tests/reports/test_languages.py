"""Backend ``rules`` with the German and the Dutch words, on invented sentences."""

import pytest
import yaml

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.rules import RulesBackend


def presence(name, about, present, absent):
    values = {"present": {"meaning": "m", "phrase": f"{name} present", "terms": present}}
    values["absent"] = {"meaning": "m", "phrase": f"no {name}", "terms": absent}
    return {
        "id": name,
        "question": "q",
        "prompt": name,
        "kind": "presence",
        "values": values,
        "rules": {"about": about},
    }


def margins(about, clear, involved):
    values = {"clear": {"meaning": "m", "phrase": "margins clear", "terms": clear}}
    values["involved"] = {"meaning": "m", "phrase": "margins involved", "terms": involved}
    rules = {"about": about, "negated": {"involved": "clear"}, "prefer": ["involved", "clear"]}
    return {"id": "margins", "question": "q", "prompt": "p", "kind": "choice", "values": values, "rules": rules}


QUESTIONS = {
    "german": [
        presence("pleura", ["*pleura*"], ["infiltr*", "*infiltration", "Einbruch"], ["frei"]),
        presence("vessels", ["*gefäß*", "Lymphangiosis", "Gefäßeinbr*"], ["*einbr*", "invasion", "*invasion"], []),
        margins(["*rand", "*ränder", "Resektions*"], ["frei", "tumorfrei"], ["befallen", "erreicht", "infiltriert"]),
    ],
    "dutch": [
        presence("pleura", ["*pleura*"], ["ingroei", "infiltr*", "*invasie"], ["vrij"]),
        presence("vessels", ["*vaso*", "*vaat*", "lymfangio*", "angio*"], ["*invasie", "ingroei"], []),
        margins(
            ["*snijvlak*", "*resectierand*", "*snijrand*"], ["vrij"], ["bereikt", "betrokken", "positief", "infiltr*"]
        ),
    ],
}


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    loaded = {}
    for language, questions in QUESTIONS.items():
        path = folder / f"{language}.yaml"
        data = {"name": language, "title": "t", "language": language, "questions": questions}
        path.write_text(yaml.safe_dump(data), encoding="utf-8")
        loaded[language] = RulesBackend(load_questions(path))
    return loaded


GERMAN = [
    ("pleura", "Der Tumor infiltriert die Pleura.", "present"),
    ("pleura", "Keine Infiltration der Pleura.", "absent"),
    ("pleura", "Keine Pleurainfiltration.", "absent"),
    ("pleura", "Die Pleura ist frei.", "absent"),
    ("pleura", "Die Pleura ist nicht infiltriert.", "absent"),
    ("pleura", "Pleurainfiltration: nicht nachweisbar.", "absent"),
    ("pleura", "Pleurainfiltration: ja.", "present"),
    ("pleura", "Pleurainfiltration:\n[ ] ja\n[x] nein", "absent"),
    ("pleura", "Pleurainfiltration\tnein", "absent"),
    ("pleura", "Pleurainfiltration ist nicht auszuschließen.", "unknown"),
    ("pleura", "Fragliche Infiltration der Pleura.", "unknown"),
    ("pleura", "Pleurainfiltration:\nGefäßeinbruch: nein", "unknown"),
    ("pleura", "Der Tumor infil-\ntriert die Pleura.", "present"),
    ("pleura", "Anamnese: Infiltration der Pleura.", "unknown"),
    ("pleura", "Vorbefund: Infiltration der Pleura.", "unknown"),
    ("vessels", "Gefäßeinbrüche sind nicht nachweisbar.", "absent"),
    ("vessels", "Kein Einbruch in Lymphgefäße.", "absent"),
    ("vessels", "Einbruch in Lymphgefäße.", "present"),
    ("vessels", "Gefäßinvasion: fehlend", "absent"),
    ("margins", "Resektionsränder nicht befallen.", "clear"),
    ("margins", "Die Resektionsra\u0308nder sind tumorfrei.", "clear"),
    ("margins", "Der Resektionsrand ist nicht frei.", "involved"),
    ("margins", "Der bronchiale Resektionsrand ist befallen.", "involved"),
    ("margins", "Der Tumor infiltriert die Pleura, aber nicht den Resektionsrand.", "clear"),
    ("margins", "Der Resektionsrand, zuvor befallen, ist frei.", "clear"),
]
DUTCH = [
    ("pleura", "De tumor infiltreert de pleura.", "present"),
    ("pleura", "Geen ingroei in de pleura.", "absent"),
    ("pleura", "De pleura is vrij.", "absent"),
    ("pleura", "Pleura-invasie: afwezig.", "absent"),
    ("pleura", "Pleura-invasie: aanwezig.", "present"),
    ("pleura", "Pleura-invasie:\n[ ] ja\n[x] nee", "absent"),
    ("pleura", "Ingroei in de pleura is niet uit te sluiten.", "unknown"),
    ("pleura", "Mogelijk ingroei in de pleura.", "unknown"),
    ("pleura", "Voorgeschiedenis: ingroei in de pleura.", "unknown"),
    ("vessels", "Angio-invasie: niet aangetoond.", "absent"),
    ("vessels", "Er is vaso-invasie.", "present"),
    ("vessels", "Geen vaatinvasie.", "absent"),
    ("margins", "Snijvlakken vrij.", "clear"),
    ("margins", "De snijvlakken zijn niet vrij.", "involved"),
    ("margins", "Het bronchiale snijvlak is niet betrokken.", "clear"),
    ("margins", "Resectieranden: positief.", "involved"),
    ("margins", "De tumor infiltreert de pleura, maar niet het snijvlak.", "clear"),
]


@pytest.mark.parametrize(("question", "text", "expected"), GERMAN)
def test_german(backends, question, text, expected):
    assert backends["german"].answer(text)[question]["answer"] == expected


@pytest.mark.parametrize(("question", "text", "expected"), DUTCH)
def test_dutch(backends, question, text, expected):
    assert backends["dutch"].answer(text)[question]["answer"] == expected
