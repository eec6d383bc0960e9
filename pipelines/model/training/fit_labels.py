"""Fit what labels add to the class texts of FiVE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.model.data.bags import BagFile
from pipelines.model.networks.five import FiveModel
from pipelines.model.training.ridge import fit_ridge, mixture_of

CLASS_PENALTY = 0.4
"""L2 penalty of the class weights that are added to the class texts."""
BIAS_PENALTY = 8.0
"""L2 penalty of the class biases: two slides say little about where the boundary between two classes lies."""


def fit_labels(
    model: FiveModel,
    classes: Mapping[str, Sequence[str]],
    labels: Mapping[str, str],
    class_weights: Mapping[str, float],
    members: Sequence[BagFile],
    slides: Tensor,
) -> None:
    """Fit the class weights and biases of ``model`` in place: a logistic regression that starts at the class texts.

    The penalty pulls the weights to zero, so that with few labels the prediction stays close to the texts.

    Parameters
    ----------
    labels
        Slide id -> class.
    class_weights
        Class -> weight of its slides in the loss; 1 if a class is not listed.
    slides
        (n, G, C) standardized slides, in the order of ``members``.
    """
    names = model.spec.labels
    texts = model.class_texts({name: classes[name] for name in names})  # (K, Q R)
    offset = (model.answers(slides).flatten(1) @ texts.T).double()
    targets = torch.tensor([names.index(labels[slide.slide_id]) for slide in members], device=slides.device)
    model.class_mixture.copy_(_gates_for_labels(model, texts, slides, functional.one_hot(targets, len(names))))
    seen = (slides * model.class_mixture.sqrt()[:, None]).flatten(1).double()
    weights = torch.tensor([class_weights.get(name, 1.0) for name in names], device=slides.device)[targets]
    coefficients, biases = _logistic_regression(seen @ seen.T, offset, targets, weights)
    model.weights.copy_((coefficients.T @ seen).unflatten(1, model.centre.shape))
    model.biases.copy_(biases)


def _gates_for_labels(model: FiveModel, texts: Tensor, slides: Tensor, targets: Tensor) -> Tensor:
    """Return the share of each gate, (G,): the candidate from which labels are predicted best, one left out.

    Candidates are the attention of the questions on which the class texts differ, the mixture that the labels
    themselves prefer, and equal shares.
    """
    n_gates = slides.shape[1]
    candidates = [torch.full_like(slides[0, :, 0], 1 / n_gates)]
    relevance = texts.unflatten(1, model.axes.shape[:2]).square().sum(dim=(0, 2))  # (Q,)
    if relevance.any():
        candidates.insert(0, (relevance @ model.mixture) / relevance.sum())
    if len(slides) >= 2 * n_gates:
        regressions = [fit_ridge(slides[:, gate], targets) for gate in range(n_gates)]
        own = mixture_of(regressions, targets).float()
        if own.any():
            candidates.append(own / own.sum())
    errors = [fit_ridge((slides * each.sqrt()[:, None]).flatten(1), targets).error for each in candidates]
    return candidates[errors.index(min(errors))]


def _logistic_regression(kernel: Tensor, offset: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return coefficients (n, K) and biases (K,) of a kernel logistic regression; the loss is convex."""
    coefficients = torch.zeros_like(offset, requires_grad=True)
    biases = torch.zeros_like(offset[0], requires_grad=True)
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
    return coefficients.detach(), biases.detach()
