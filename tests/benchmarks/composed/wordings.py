"""The findings of the composed cohort, and the words for their answers.

The first five wordings of an answer are used in training, the others only in the test.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pipelines.core.questions import AllowedAnswer, Question, QuestionSet

N_TRAINING = 5
"""Wordings per answer that training sees."""
VISIBLE = ("type", "cellularity", "cytoplasm", "extent", "air_spaces", "inflammation")
"""Questions that the tissue answers; the others are distractors."""

WORDINGS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "type": (
        (
            "adenocarcinoma",
            "glandular carcinoma of the lung",
            "a tumor that forms glands and mucin",
            "malignant glands, adenocarcinoma type",
            "carcinoma with glandular differentiation",
            "acinar and papillary malignant structures",
            "gland-forming malignancy",
        ),
        (
            "squamous cell carcinoma",
            "epidermoid carcinoma of the lung",
            "a tumor with keratin and intercellular bridges",
            "keratinizing carcinoma, squamous type",
            "carcinoma with squamous differentiation",
            "nests of squamous malignant cells with keratin pearls",
            "epidermoid malignancy",
        ),
    ),
    "cellularity": (
        (
            "high cellularity",
            "densely packed tumor cells",
            "the tumor is very cellular",
            "crowded nuclei with little space between them",
            "hypercellular tumor",
            "cells lie close together in great number",
            "abundant crowded tumor cells",
        ),
        (
            "low cellularity",
            "sparse tumor cells",
            "the tumor has few cells",
            "scattered nuclei far apart",
            "paucicellular tumor",
            "only a few cells lie in the tissue",
            "scanty scattered tumor cells",
        ),
    ),
    "cytoplasm": (
        (
            "eosinophilic cytoplasm",
            "abundant pink cytoplasm",
            "the cells are strongly eosinophilic",
            "dense pink stroma and cytoplasm",
            "deeply eosin-stained tumor",
            "pink-staining cells and matrix",
            "intensely eosinophilic tumor cells",
        ),
        (
            "pale cytoplasm",
            "scant pale cytoplasm",
            "the cells stain only weakly",
            "clear to pale stroma and cytoplasm",
            "faintly stained tumor",
            "weakly staining cells and matrix",
            "pallid tumor cells",
        ),
    ),
    "extent": (
        (
            "extensive tumor",
            "tumor occupies a large part of the section",
            "widespread carcinoma",
            "large tumor mass replaces the lung",
            "the carcinoma is extensive",
            "much of the tissue is tumor",
            "broad replacement by malignancy",
        ),
        (
            "focal tumor",
            "tumor occupies a small part of the section",
            "limited carcinoma",
            "small tumor focus within the lung",
            "the carcinoma is focal",
            "little of the tissue is tumor",
            "a tiny island of malignancy",
        ),
    ),
    "air_spaces": (
        (
            "open air spaces",
            "alveoli are widely patent",
            "the lung is well aerated",
            "preserved empty alveolar spaces",
            "aerated alveolar parenchyma",
            "airy lung with wide alveoli",
            "expanded alveoli",
        ),
        (
            "collapsed air spaces",
            "alveoli are compressed",
            "the lung is poorly aerated",
            "reduced and consolidated alveolar spaces",
            "atelectatic alveolar parenchyma",
            "dense lung with narrow alveoli",
            "shrunken alveoli",
        ),
    ),
    "inflammation": (
        (
            "inflammation present",
            "lymphocytic infiltrate in the lung",
            "clusters of inflammatory cells",
            "chronic inflammation of the parenchyma",
            "inflamed lung tissue",
            "aggregates of lymphocytes",
            "interstitial inflammatory infiltrate",
        ),
        (
            "no inflammation",
            "no lymphocytic infiltrate in the lung",
            "inflammatory cells are absent",
            "parenchyma without chronic inflammation",
            "uninflamed lung tissue",
            "no aggregates of lymphocytes",
            "infiltrate is not seen",
        ),
    ),
    "margins": (
        (
            "margins involved",
            "tumor at the resection margin",
            "positive resection margin",
            "the cut edge shows carcinoma",
            "carcinoma reaches the margin",
            "the edge is not free",
            "incomplete excision",
        ),
        (
            "margins clear",
            "tumor away from the resection margin",
            "negative resection margin",
            "the cut edge is free of carcinoma",
            "carcinoma does not reach the margin",
            "the edge is free",
            "complete excision",
        ),
    ),
    "vascular": (
        (
            "vascular invasion present",
            "tumor in blood vessels",
            "invasion of veins by carcinoma",
            "angioinvasion identified",
            "vessels contain tumor",
            "intravascular carcinoma",
            "vessel permeation",
        ),
        (
            "no vascular invasion",
            "no tumor in blood vessels",
            "veins are not invaded by carcinoma",
            "angioinvasion not identified",
            "vessels are free of tumor",
            "no intravascular carcinoma",
            "vessels intact",
        ),
    ),
}
"""Question -> the wordings of its first and of its second answer."""

CLASS_TEXTS = {
    "adenocarcinoma": ("malignant tumor whose cells form glands", "glandular cancer of the lung"),
    "squamous": ("malignant tumor whose cells produce keratin", "squamous cancer of the lung"),
}
"""Texts of the classes for prediction without labels; none of them is a training wording."""


COMBINATION = ("cellularity", "cytoplasm")
"""Questions whose answers together describe a class; one combination can be left out of the training."""
COMBINATION_TEXTS = {
    (0, 0): "densely packed tumor cells, abundant pink cytoplasm",
    (0, 1): "densely packed tumor cells, scant pale cytoplasm",
    (1, 0): "sparse tumor cells, abundant pink cytoplasm",
    (1, 1): "sparse tumor cells, scant pale cytoplasm",
}
"""Answers to the questions of `COMBINATION` -> the text of that class."""
SYLLABLES = ("ba", "do", "fi", "gu", "ka", "lo", "mi", "nu", "pe", "ra", "so", "ti", "vu", "ze")


def nonsense(rng: np.random.Generator) -> Mapping[str, tuple[tuple[str, ...], ...]]:
    """Return invented words in place of `WORDINGS`, three per wording; answers have no word in common by design."""

    def wording() -> str:
        return " ".join("".join(rng.choice(SYLLABLES, 3)) for _ in range(3))

    return {name: tuple(tuple(wording() for _ in texts) for texts in answers) for name, answers in WORDINGS.items()}


def question_set(words: Mapping[str, tuple[tuple[str, ...], ...]] = WORDINGS) -> QuestionSet:
    """Return the questions with the training wordings among ``words``."""
    return QuestionSet(
        name="composed",
        title="Findings of the composed cohort",
        questions=tuple(
            Question(
                id=name,
                question=f"What about {name}?",
                prompt=name.replace("_", " "),
                kind="choice",
                values={
                    key: AllowedAnswer(meaning=texts[0], phrase=texts[0], wordings=texts[1:N_TRAINING])
                    for key, texts in zip(("first", "second"), answers, strict=True)
                },
            )
            for name, answers in words.items()
        ),
    )
