"""Write the pathology report of an invented patient, with varied wording and layout."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipelines.synthetic.patients import FINDINGS, UNKNOWN, Patient
from pipelines.synthetic.phrases import DIAGNOSIS, GROSS, GROWTH_PATTERN, REMARKS, SPECIMEN, WORDINGS

HEADER = "SYNTHETIC REPORT - NOT A REAL PATIENT"
"""First line of every report."""


def write_report(patient: Patient, seed: int) -> str:
    """Return the report of a patient; it states the findings in ``patient.stated`` that are known, and no others."""
    rng = np.random.default_rng([seed, patient.number, 1])
    specimen, gross = (_pick(rng, kind).format(**_measures(rng)) for kind in (SPECIMEN, GROSS))
    sentences = {
        finding: _pick(rng, WORDINGS[finding][value]).format(**_measures(rng))
        for finding, value in patient.stated.items()
        if value != UNKNOWN
    }
    growth = _pick(rng, GROWTH_PATTERN[patient.label])
    layout = LAYOUTS[int(rng.integers(len(LAYOUTS)))]
    body = layout(specimen, gross, growth, _pick(rng, DIAGNOSIS[patient.label]), sentences, rng)
    return f"{HEADER}\n{_as_scanned(body, rng)}\n"


def truth_row(patient: Patient) -> dict[str, str]:
    """Return what the report of a patient states: one value per finding, ``unknown`` if it is not mentioned."""
    row = {"report_id": patient.report_id, "patient_id": patient.patient_id}
    return {**row, **{finding: patient.stated[finding] for finding in FINDINGS}, "growth": patient.label}


def _sections(
    specimen: str, gross: str, growth: str, name: str, findings: Mapping[str, str], rng: np.random.Generator
) -> list[str]:
    """Return paragraphs with headings: findings under microscopy, margins under diagnosis."""
    microscopy = [text for finding, text in findings.items() if finding != "margins"]
    rng.shuffle(microscopy)
    microscopy.insert(int(rng.integers(len(microscopy) + 1)), _pick(rng, REMARKS))
    return [
        f"SPECIMEN: {specimen}.",
        f"GROSS DESCRIPTION: {gross}",
        f"MICROSCOPIC DESCRIPTION: {' '.join([growth, *microscopy])}",
        f"DIAGNOSIS: {_capital(specimen)}: {name}. {findings.get('margins', '')}",
    ]


def _diagnosis_first(
    specimen: str, gross: str, growth: str, name: str, findings: Mapping[str, str], rng: np.random.Generator
) -> list[str]:
    """Return the diagnosis and a list of findings first, then the descriptions."""
    items = [f"- {text}" for text in findings.values()]
    rng.shuffle(items)
    return [
        f"FINAL DIAGNOSIS\n{_capital(specimen)}:\n{_capital(name)}.",
        "\n".join(items),
        f"Comment: {growth} {_pick(rng, REMARKS)}",
        f"Macroscopy: {gross}",
    ]


def _letter(
    specimen: str, gross: str, growth: str, name: str, findings: Mapping[str, str], rng: np.random.Generator
) -> list[str]:
    """Return a letter without headings."""
    texts = list(findings.values())
    rng.shuffle(texts)
    return [
        f"Dear colleague, we examined the following material: {specimen}. {gross} {growth} {' '.join(texts)} "
        f"{_pick(rng, REMARKS)} In summary, the findings are those of {name}."
    ]


LAYOUTS: Sequence[Callable[..., list[str]]] = (_sections, _diagnosis_first, _letter)
"""Layouts of a report, drawn with equal probability."""


def _as_scanned(paragraphs: Sequence[str], rng: np.random.Generator) -> str:
    """Join paragraphs with line breaks as on a page; some are in capitals or without blank lines, as after OCR."""
    width = int(rng.integers(58, 96))
    paragraphs = [text.upper() if rng.random() < 0.12 else text for text in paragraphs]
    wrapped = ["\n".join(textwrap.fill(line.strip(), width) for line in text.split("\n")) for text in paragraphs]
    return ("\n\n" if rng.random() < 0.6 else "\n").join(wrapped)


def _measures(rng: np.random.Generator) -> dict[str, object]:
    """Return values for the placeholders in the sentences: sizes in cm, weight in grams, side, lobe, color."""
    a, b, c = sorted(rng.uniform(4, 18, 3).round(1), reverse=True)
    return {
        **{"a": a, "b": b, "c": c, "size": round(rng.uniform(1.2, 6.5), 1), "weight": int(rng.integers(90, 420))},
        **{"distance": round(rng.uniform(0.4, 3.0), 1), "blocks": int(rng.integers(4, 13))},
        **{"side": _pick(rng, ("right", "left")), "lobe": _pick(rng, ("upper", "lower"))},
        "color": _pick(rng, ("gray-white", "tan", "yellow-white", "tan-gray")),
    }


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
