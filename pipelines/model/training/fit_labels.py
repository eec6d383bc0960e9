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
JOINT_PENALTY = 2.0
"""The same if the features share a space with texts, which then know the classes better than few labels do."""
SLIDES_FOR_CHOICE = 2000
"""Maximum number of slides on which the gates for the labels are chosen; the cost grows with its cube."""
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
    penalty = JOINT_PENALTY if model.reads_meaning else CLASS_PENALTY
    fitted, biases = _logistic_regression(seen, offset, targets, weights, penalty)
    model.weights.copy_(fitted.T.unflatten(1, model.centre.shape))
    model.biases.copy_(biases)


def _gates_for_labels(model: FiveModel, texts: Tensor, slides: Tensor, targets: Tensor) -> Tensor:
    """Return the share of each gate, (G,): the candidate from which labels are predicted best, one left out.

    Candidates are the attention of the questions on which the class texts differ, the mixture that the labels
    themselves prefer, and equal shares. They are compared on at most `SLIDES_FOR_CHOICE` slides.
    """
    n_gates = slides.shape[1]
    if len(slides) > SLIDES_FOR_CHOICE:
        drawn = torch.randperm(len(slides), generator=torch.Generator().manual_seed(0))[:SLIDES_FOR_CHOICE]
        slides, targets = slides[drawn.to(slides.device)], targets[drawn.to(slides.device)]
    candidates = [torch.full_like(slides[0, :, 0], 1 / n_gates)]
    relevance = texts.unflatten(1, model.axes.shape[:2]).square().sum(dim=(0, 2))  # (Q,)
    if relevance.any():
        candidates.insert(0, (relevance @ model.mixture) / relevance.sum())
    if len(slides) >= 2 * n_gates:
        regressions = [fit_ridge(slides[:, gate], targets) for gate in range(n_gates)]
        own = mixture_of([each.left_out for each in regressions], targets).float()
        if own.any():
            candidates.append(own / own.sum())
    errors = [fit_ridge((slides * each.sqrt()[:, None]).flatten(1), targets).error for each in candidates]
    return candidates[errors.index(min(errors))]


def _logistic_regression(
    inputs: Tensor, offset: Tensor, targets: Tensor, weights: Tensor, penalty: float
) -> tuple[Tensor, Tensor]:
    """Return weights (F, K) and biases (K,) of a logistic regression on ``inputs`` (n, F); the loss is convex.

    The solver works with as many numbers per class as there are slides or channels, whichever is less.
    """
    is_tall = len(inputs) > inputs.shape[1]
    basis = inputs if is_tall else inputs @ inputs.T
    coefficients = torch.zeros_like(basis[0, :, None] * offset[0], requires_grad=True)
    biases = torch.zeros_like(offset[0], requires_grad=True)
    solver = torch.optim.LBFGS([coefficients, biases], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        added = basis @ coefficients
        fitted = (functional.cross_entropy(offset + added + biases, targets, reduction="none") * weights).sum()
        squared_weights = (coefficients * (coefficients if is_tall else added)).sum()
        total = fitted + penalty / 2 * squared_weights + BIAS_PENALTY / 2 * biases.square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(loss)
    found = coefficients.detach()
    return found if is_tall else inputs.T @ found, biases.detach()
