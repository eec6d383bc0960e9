"""Fit how each question of FiVE reads a slide, from the answers in the reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.model.data.bags import BagFile
from pipelines.model.data.descriptions import Answers
from pipelines.model.networks.five import AXES, FiveModel
from pipelines.model.training.ridge import fit_ridge, mixture_of

MIN_ANSWERS = 8
"""Minimum number of slides with a known answer; with fewer a question is not fitted."""


def fit_answers(
    model: FiveModel,
    answers: Mapping[str, Answers],
    wordings: Mapping[str, Sequence[str]],
    members: Sequence[BagFile],
    slides: Tensor,
) -> dict[str, float]:
    """Fit the questions of ``model`` in place, each to its own answers.

    The target of an answer is the mean text vector of all its wordings, less the mean over the slides. Unknown answers
    are left out. Each gate has a ridge regression; their mixture is the attention of the question.

    Parameters
    ----------
    answers
        Slide id -> answers of the patient's reports.
    wordings
        Answer -> the texts that say it; an answer that is not listed is its own text.
    slides
        (n, G, C) standardized slides, in the order of ``members``.

    Returns
    -------
    dict
        Metrics: ``explained_<question>`` is the share of the variance of the answers that is explained when each
        slide is predicted by the others; ``loss`` is 1 minus their mean.
    """
    explained = {}
    for number, question in enumerate(model.spec.questions):
        known = [row for row, slide in enumerate(members) if answers[slide.slide_id][number]]
        texts = [str(answers[members[row].slide_id][number]) for row in known]
        explained[question] = 0.0
        if len(known) >= MIN_ANSWERS and len(set(texts)) > 1:
            explained[question] = _fit_question(model, number, _targets(model, texts, wordings), slides[known])
    predicted = model.answers(slides).flatten(1)
    model.spread.copy_(predicted.T @ predicted / len(predicted))
    loss = 1 - sum(explained.values()) / max(1, len(explained))
    return {"loss": loss, **{f"explained_{name}": share for name, share in explained.items()}}


def _targets(model: FiveModel, texts: Sequence[str], wordings: Mapping[str, Sequence[str]]) -> Tensor:
    """Return the mean vector of the wordings of each answer, less the mean over all, (n, W)."""
    said = {text: wordings.get(text, [text]) for text in dict.fromkeys(texts)}
    vectors = model.encode_texts([wording for each in said.values() for wording in each]).double()
    means = [group.mean(dim=0) for group in vectors.split([len(each) for each in said.values()])]
    row_of = {text: row for row, text in enumerate(said)}
    targets = torch.stack(means)[[row_of[text] for text in texts]]
    return targets - targets.mean(dim=0)


def _fit_question(model: FiveModel, number: int, targets: Tensor, slides: Tensor) -> float:
    """Fit one question; return the share of the variance that it explains of slides left out."""
    _, lengths, directions = torch.linalg.svd(targets, full_matrices=False)
    if lengths[0] < 1e-6:  # the text model does not distinguish the answers
        return 0.0
    axes = directions[lengths > 1e-6 * lengths[0]][:AXES]
    along = targets @ axes.T
    regressions = [fit_ridge(slides[:, gate], along) for gate in range(slides.shape[1])]
    weights = mixture_of(regressions, along)
    if not weights.any():  # no gate knows more than the mean answer
        return 0.0
    model.mixture[number] = weights / weights.sum()
    model.axes[number, : len(axes)] = axes.float()
    for gate, regression in enumerate(regressions):
        model.maps[number, : len(axes), gate] = (regression.coefficients.T * weights.sum()).float()
    left_out = sum((weight * each.left_out for weight, each in zip(weights, regressions, strict=True)), torch.zeros(()))
    return max(0.0, 1 - float((along - left_out).square().sum() / along.square().sum()))
