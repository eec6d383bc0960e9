"""Ridge regression whose strength is chosen by exact leave-one-out errors, and mixtures of several regressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5))
"""Penalties to choose from, as multiples of the mean squared length of an input."""


@dataclass(frozen=True)
class Regression:
    """A fitted regression from inputs (n, C) to targets (n, R)."""

    coefficients: Tensor
    """(C, R)"""
    intercept: Tensor
    """(R,)"""
    left_out: Tensor
    """(n, R) prediction of each target by the regression on all others, less the mean of all targets."""
    error: float
    """Squared error of these predictions divided by that of the mean of the other targets; 1 is no knowledge."""


def fit_ridge(inputs: Tensor, targets: Tensor) -> Regression:
    """Return the ridge regression with the penalty of the lowest leave-one-out error.

    Parameters
    ----------
    inputs
        (n, C); at least two rows.
    targets
        (n, R).
    """
    inputs, targets = inputs.double(), targets.double()
    n, centre, mean = len(inputs), inputs.mean(dim=0), targets.mean(dim=0)
    axes, squares = _main_axes(inputs - centre)
    scores, centered = (inputs - centre) @ axes, targets - mean  # (n, r), (n, R)
    moments = scores.T @ centered
    baseline = (centered * n / (n - 1)).square().sum().clamp(min=1e-12)
    best: tuple[float, Tensor, Tensor] | None = None
    for penalty in PENALTIES:
        inverse = 1 / (squares + penalty * squares.sum() / n + 1e-12)
        solution, leverage = inverse[:, None] * moments, scores.square() @ inverse + 1 / n
        residuals = (centered - scores @ solution) / (1 - leverage).clamp(min=1e-9)[:, None]
        error = float(residuals.square().sum() / baseline)
        if best is None or error < best[0]:
            best = error, solution, residuals
    assert best is not None
    error, solution, residuals = best
    coefficients = axes @ solution
    return Regression(coefficients, mean - centre @ coefficients, centered - residuals, error)


def given_regression(coefficients: Tensor, inputs: Tensor, targets: Tensor) -> Regression:
    """Return the regression with given ``coefficients`` (C, R) times one fitted factor, which is at least 0.

    One factor cannot learn the targets by heart, so they are not left out.
    """
    inputs, targets = inputs.double(), targets.double()
    centre, mean = inputs.mean(dim=0), targets.mean(dim=0)
    predicted, centered = (inputs - centre) @ coefficients.double(), targets - mean
    factor = ((predicted * centered).sum() / predicted.square().sum().clamp(min=1e-12)).clamp(min=0)
    scaled, predicted = factor * coefficients.double(), factor * predicted
    error = float((centered - predicted).square().sum() / centered.square().sum().clamp(min=1e-12))
    return Regression(scaled, mean - centre @ scaled, predicted, error)


def _main_axes(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return orthonormal axes of centered ``inputs`` (n, C), (C, r), and the sum of squares along each, (r,).

    Of the products of the inputs, the smaller one is decomposed; this is faster than a singular value decomposition.
    """
    is_tall = len(inputs) > inputs.shape[1]
    squares, vectors = torch.linalg.eigh(inputs.T @ inputs if is_tall else inputs @ inputs.T)
    kept = squares > 1e-12 * squares[-1].clamp(min=1e-300)
    squares, vectors = squares[kept], vectors[:, kept]
    return vectors if is_tall else inputs.T @ (vectors / squares.sqrt()), squares


def mixture_of(left_out: Sequence[Tensor], targets: Tensor) -> Tensor:
    """Return the weights, at least 0, with which the predictions ``left_out`` of regressions predict ``targets`` best.

    This is stacking (Wolpert 1992, Breiman 1996). The sum of the weights is below 1 where the regressions claim too
    much.

    Parameters
    ----------
    left_out
        (n, R) each, as `Regression.left_out`.
    """
    import numpy as np
    from scipy.optimize import nnls

    columns = np.stack([each.flatten().cpu().numpy() for each in left_out], axis=1)
    centered = (targets.double() - targets.double().mean(dim=0)).flatten().cpu().numpy()
    weights, _ = nnls(columns, centered)
    return torch.from_numpy(weights).to(targets.device)
