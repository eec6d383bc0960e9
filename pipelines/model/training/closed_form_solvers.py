"""Solve for the closed form of FiVE: ridge regression onto answers, and logistic regression on top of class texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.model.data.bags import BagFile
from pipelines.model.data.descriptions import Answers
from pipelines.model.networks.closed_form import LinearFive

TEXT_PENALTY = 30.0
"""Ridge penalty of the regression onto text vectors, for slide vectors with a mean squared length of 1. It is so
strong that each direction of the tile features counts only by its covariance with the texts."""
CLASS_PENALTY = 0.4
"""L2 penalty of the class weights that are added to the class texts."""
BIAS_PENALTY = 8.0
"""L2 penalty of the class biases: two slides say little about where the boundary between two classes lies."""

SlideVectors = Mapping[str, tuple[Sequence[BagFile], Tensor]]
"""Split -> its slides and their vectors, (n, number of channels)."""


def fit_text_map(
    model: LinearFive, answers: Mapping[str, Answers], slides: SlideVectors
) -> dict[str, dict[str, float]]:
    """Fit the map from slides to texts in place, and return the metrics of each split.

    ``loss`` is the squared error divided by that of always predicting the mean answer.

    Parameters
    ----------
    answers
        Slide id -> answers of the patient's reports.
    """
    by_split = {split: [answers[slide.slide_id] for slide in members] for split, (members, _) in slides.items()}
    targets = _text_targets(model, by_split)
    vectors = slides["train"][1].double()
    kernel = vectors @ vectors.T + TEXT_PENALTY * torch.eye(len(vectors), device=vectors.device)
    model.to_text.copy_(torch.linalg.solve(kernel, targets["train"].double()).T @ vectors)
    predicted = slides["train"][1] @ model.to_text.T
    model.spread.copy_(predicted.T @ predicted / len(predicted))
    return {
        split: {
            "loss": float((vectors @ model.to_text.T - targets[split]).square().sum() / targets[split].square().sum())
        }
        for split, (members, vectors) in slides.items()
        if members and targets[split].any()
    }


def _text_targets(model: LinearFive, answers: Mapping[str, Sequence[Answers]]) -> dict[str, Tensor]:
    """Return the sum of the embeddings of each slide's answers, by split, (n, W).

    The mean embedding of the training answers to the same question is subtracted from each answer, so that the
    target is how the patient differs from the others. Unknown answers add nothing.
    """
    targets = {split: model.spread.new_zeros(len(rows), model.text.width) for split, rows in answers.items()}
    for question in range(len(model.spec.questions)):
        known = {split: [row for row, each in enumerate(rows) if each[question]] for split, rows in answers.items()}
        if not known["train"]:
            continue
        texts = {split: [str(answers[split][row][question]) for row in rows] for split, rows in known.items() if rows}
        vectors = {split: model.encode_texts(each) for split, each in texts.items()}
        for split, each in vectors.items():
            targets[split][known[split]] += each - vectors["train"].mean(dim=0)
    return targets


def fit_class_weights(
    model: LinearFive,
    classes: Mapping[str, Sequence[str]],
    labels: Mapping[str, str],
    class_weights: Mapping[str, float],
    slides: SlideVectors,
) -> None:
    """Fit the class weights and biases in place; the solution is the unique minimum of a convex loss.

    Parameters
    ----------
    labels
        Slide id -> class.
    class_weights
        Class -> weight of its slides in the loss; 1 if a class is not listed.
    """
    members, vectors = slides["train"]
    names = model.spec.classes
    rows = model.encode_classes({name: classes[name] for name in names})
    offset = (vectors @ model.to_text.T @ rows[:, : model.text.width].T).double()
    targets = torch.tensor([names.index(labels[slide.slide_id]) for slide in members], device=vectors.device)
    weights = torch.tensor([class_weights.get(name, 1.0) for name in names], device=vectors.device)[targets]
    kernel = vectors.double() @ vectors.double().T
    coefficients = kernel.new_zeros(len(members), len(names), requires_grad=True)
    biases = kernel.new_zeros(len(names), requires_grad=True)
    solver = torch.optim.LBFGS([coefficients, biases], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = offset + kernel @ coefficients + biases
        fitted = (functional.cross_entropy(logits, targets, reduction="none") * weights).sum()
        squared_weights = (coefficients * (kernel @ coefficients)).sum()
        total = fitted + CLASS_PENALTY / 2 * squared_weights + BIAS_PENALTY / 2 * biases.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(loss)
    model.weights.copy_(coefficients.detach().T @ vectors.double())
    model.biases.copy_(biases.detach())
