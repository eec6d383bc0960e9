"""Measure answers and places on drawn slides: of a trained model, and of a tile classifier that saw the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.core.questions import QuestionSet
from pipelines.model.data.bags import BagReader
from pipelines.model.networks.bag_model import BagModel
from tests.benchmarks.drawn.cohort import DrawnSlide

MARKED = 0.02
"""Minimum share of a tile that a structure covers in a tile that shows it; tiles with less are left out."""
ALL = 8192
STRONGEST = 3
"""Number of tiles that decide the answer of the classifier of tiles."""


@dataclass(frozen=True)
class Asked:
    """How a question is measured."""

    answers: tuple[str, str]
    """Two answers that are to be distinguished; slides with another answer are left out."""
    mask: str | None = None
    """The structure that shows the first answer; none if no tile shows it."""


ASKED: Mapping[str, Asked] = {
    "histologic_type": Asked(("adenocarcinoma", "squamous_cell"), "growth"),
    "differentiation": Asked(("well", "poor")),
    "air_spaces": Asked(("present", "absent"), "air_spaces"),
    "vascular_invasion": Asked(("present", "absent"), "vascular_invasion"),
    "necrosis": Asked(("present", "absent"), "necrosis"),
    "pleural_invasion": Asked(("present", "absent")),
    "adjacent_invasion": Asked(("present", "absent")),
    "margins": Asked(("involved", "clear")),
}
TYPES = {"glandular": "adenocarcinoma", "keratinizing": "squamous_cell"}


def model_measures(model: BagModel, slides: Sequence[DrawnSlide], questions: QuestionSet) -> dict[str, float]:
    """Return the AUC of every question's answers, attention and evidence, as ``answers necrosis`` and so on."""
    reader, prompts = BagReader(), model.encode_prompts()
    result: dict[str, float] = {}
    with torch.inference_mode():
        bags = [reader.evaluation(slide.bag, ALL) for slide in slides]
        attended = [model.attend(bag, prompts) for bag in bags]
        vectors = torch.cat([vector for vector, _ in attended])
        for question in questions.questions:
            if question.id not in ASKED:
                continue
            asked = ASKED[question.id]
            texts = {name: question.values[name].texts for name in asked.answers}
            classes = model.encode_classes(texts)
            logits = model.logits(vectors, classes)
            margins = (logits[:, 0] - logits[:, 1]).double().numpy()
            result[f"answers {question.id}"] = _answers(slides, question.id, margins)
            if asked.mask:
                place = model.prompt_names.index(question.id)
                maps = [attention[place].numpy() for _, attention in attended]
                result[f"places {question.id}"] = _places(slides, question.id, maps)
                added = [model.contributions(bag, classes) for bag in bags]
                toward = [
                    (each[0] - each[1]).numpy() * _sign(slide, question.id)
                    for each, slide in zip(added, slides, strict=True)
                    if each is not None
                ]
                if toward:  # a network whose prediction is no sum over tiles has none
                    result[f"evidence {question.id}"] = _places(slides, question.id, toward)
    return result


def tile_measures(training: Sequence[DrawnSlide], test: Sequence[DrawnSlide]) -> dict[str, float]:
    """Return the same of a logistic regression on tiles that learned from the masks: what the encoder allows."""
    reader = BagReader()
    seen, unseen = ([reader.evaluation(s.bag, ALL).features.numpy() for s in part] for part in (training, test))
    result: dict[str, float] = {}
    for question, asked in ASKED.items():
        if asked.mask is None:
            continue
        shares = np.concatenate([slide.shares[asked.mask] for slide in training])
        clear = (shares == 0) | (shares >= MARKED)
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        model.fit(np.concatenate(seen)[clear], shares[clear] >= MARKED)
        scores = [model.decision_function(features) for features in unseen]
        result[f"places {question}"] = _places(test, question, scores)
        if question != "histologic_type":  # both types have marked tiles
            strongest = np.array([np.sort(each)[-STRONGEST:].mean() for each in scores])
            result[f"answers {question}"] = _answers(test, question, strongest)
    return result


def _truth(slide: DrawnSlide, question: str) -> str:
    return TYPES[slide.patient.label] if question == "histologic_type" else slide.patient.findings[question]


def _sign(slide: DrawnSlide, question: str) -> int:
    """Return -1 if the marked tiles show the second answer, which only the type has."""
    return -1 if _truth(slide, question) == ASKED[question].answers[1] else 1


def _answers(slides: Sequence[DrawnSlide], question: str, margins: NDArray[np.float64]) -> float:
    first, second = ASKED[question].answers
    truth = np.array([_truth(slide, question) for slide in slides])
    asked = (truth == first) | (truth == second)
    return float(roc_auc_score(truth[asked] == first, margins[asked]))


def _places(slides: Sequence[DrawnSlide], question: str, maps: Sequence[NDArray[np.float64]]) -> float:
    """Return the mean AUC of the maps for the tiles that show the finding, over slides with such tiles."""
    mask = ASKED[question].mask
    assert mask is not None
    scores = []
    for slide, values in zip(slides, maps, strict=True):
        share = slide.shares[mask]
        clear = (share == 0) | (share >= MARKED)
        shown = share[clear] >= MARKED
        if shown.any() and not shown.all():
            scores.append(roc_auc_score(shown, values[clear]))
    return float(np.mean(scores))
