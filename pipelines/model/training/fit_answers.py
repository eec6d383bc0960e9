"""Fit how each question of FiVE reads a slide, from the answers in the reports."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.model.data.bags import BagFile
from pipelines.model.data.descriptions import Answers
from pipelines.model.networks.five import AXES, FiveModel
from pipelines.model.training.ridge import Regression, fit_ridge, given_regression, mixture_of

logger = logging.getLogger(__name__)

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
    are left out, as are answers that are too long for a text tower. Each gate has a ridge regression; their mixture is
    the attention of the question. If the features share a space with texts, the similarity to the answers, which needs
    no training, is one more part of the mixture.

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
    explained, too_long = {}, _too_long(model, answers, wordings, members)
    for number, question in enumerate(model.spec.questions):
        known = [row for row, slide in enumerate(members) if answers[slide.slide_id][number] not in too_long]
        texts = [str(answers[members[row].slide_id][number]) for row in known]
        explained[question] = 0.0
        if len(known) >= MIN_ANSWERS and len(set(texts)) > 1:
            explained[question] = _fit_question(model, number, _targets(model, texts, wordings), slides[known])
    if not any(explained.values()):
        logger.warning(
            "no question could be fitted, so the run predicts nothing from texts: a question needs %d training slides "
            "with answers, two different answers, and tiles that show the difference",
            MIN_ANSWERS,
        )
    _set_spread(model, slides)
    loss = 1 - sum(explained.values()) / max(1, len(explained))
    return {"loss": loss, **{f"explained_{name}": share for name, share in explained.items()}}


def _too_long(
    model: FiveModel, answers: Mapping[str, Answers], wordings: Mapping[str, Sequence[str]], members: Sequence[BagFile]
) -> set[str | None]:
    """Return None, and the answers in words of the report that the text tower cannot read; their number is logged."""
    said = [text for slide in members for text in answers[slide.slide_id] if text and text not in wordings]
    too_long = model.too_long(list(dict.fromkeys(said)))
    if too_long:
        number = sum(text in too_long for text in said)
        logger.warning("%d of %d answers in words of the report are too long for the text tower", number, len(said))
    return {None, *too_long}


def _set_spread(model: FiveModel, slides: Tensor) -> None:
    predicted = model.answers(slides).flatten(1)
    model.spread.copy_(predicted.T @ predicted / len(predicted))


def read_class_texts(model: FiveModel, classes: Mapping[str, Sequence[str]], slides: Tensor) -> None:
    """Let the only question of ``model`` compare a slide with the texts of the classes, without training.

    Parameters
    ----------
    slides
        (n, G, C) standardized slides.
    """
    texts = model.mean_texts(list(classes.values())).double()
    axes = _text_axes(texts - texts.mean(dim=0))
    own = model.gates.of_question(0)[-1]
    model.read(0, axes, [(own, model.meaning(0, axes.float()), 1.0)])
    _set_spread(model, slides)


def _targets(model: FiveModel, texts: Sequence[str], wordings: Mapping[str, Sequence[str]]) -> Tensor:
    """Return the mean vector of the wordings of each answer, less the mean over all, (n, W)."""
    distinct = list(dict.fromkeys(texts))
    means = model.mean_texts([wordings.get(text, [text]) for text in distinct]).double()
    row_of = {text: row for row, text in enumerate(distinct)}
    targets = means[[row_of[text] for text in texts]]
    return targets - targets.mean(dim=0)


def _text_axes(texts: Tensor, at_least: float = 0.0) -> Tensor:
    """Return the orthonormal directions in which centered ``texts`` (n, W) differ, (R, W), at most `AXES`.

    There are none if the singular value of the first one is below ``at_least``.
    """
    _, lengths, directions = torch.linalg.svd(texts, full_matrices=False)
    axes: Tensor = directions[(lengths > 1e-6 * lengths[0]) & (lengths[0] >= at_least)][:AXES]
    return axes


def _fit_question(model: FiveModel, number: int, targets: Tensor, slides: Tensor) -> float:
    """Fit one question; return the share of the variance that it explains of slides left out."""
    axes = _text_axes(targets, at_least=1e-6)
    if not len(axes):  # the text model does not distinguish the answers
        return 0.0
    along, gates = targets @ axes.T, model.gates.of_question(number)
    regressions = [fit_ridge(slides[:, gate], along) for gate in gates]
    weights = mixture_of([each.left_out for each in regressions], along).tolist()
    parts = list(zip(gates, regressions, weights, strict=True))
    if model.reads_meaning:
        parts = _with_meaning(model, number, axes, parts, along, slides[:, gates[-1]])
    if not any(weight for _, _, weight in parts):  # no gate knows more than the mean answer
        return 0.0
    model.read(number, axes, [(gate, regression.coefficients.T, weight) for gate, regression, weight in parts])
    return max(0.0, 1 - float((along - _left_out(parts)).square().sum() / along.square().sum()))


Parts = list[tuple[int, Regression, float]]
"""Gates, their regressions and the weights of these."""


def _with_meaning(model: FiveModel, number: int, axes: Tensor, learned: Parts, along: Tensor, own: Tensor) -> Parts:
    """Weigh what the regressions learned against what the texts say without training.

    Parameters
    ----------
    own
        (n, C) standardized slides under the own gate of the question.
    """
    said = given_regression(model.meaning(number, axes).T, own, along)
    of_learned, of_said = mixture_of([_left_out(learned), said.left_out], along).tolist()
    own_gate = learned[-1][0]
    return [*((gate, each, of_learned * weight) for gate, each, weight in learned), (own_gate, said, of_said)]


def _left_out(parts: Parts) -> Tensor:
    """Return the prediction of each answer by the others, (n, R)."""
    return torch.stack([weight * each.left_out for _, each, weight in parts]).sum(dim=0)
