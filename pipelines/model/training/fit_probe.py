"""Linear probe: a logistic regression on the bag embeddings of a FiVE model that does not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.core.errors import CohortError
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.batches import Data
from pipelines.model.networks.linear_probe import LinearProbe
from pipelines.model.networks.slide_vectors import slide_vectors
from pipelines.model.training.objectives import Objective
from pipelines.model.training.progress import Progress

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Values of C, the inverse of the regularisation, of which validation chooses one."""
WITHOUT_VALIDATION = 1.0
"""C where no slide validates."""


def fit_probe(
    model: LinearProbe,
    objective: Objective,
    labels: Mapping[str, str],
    data: Data,
    settings: TrainSettings,
    *,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit the head of ``model`` in place, once for each of `STRENGTHS`; keep the one of the lowest validation loss.

    Returns
    -------
    Progress
        Its epochs are the strengths that were tried.

    Raises
    ------
    CohortError
        A class has no training slide.
    """
    model.eval()
    with torch.no_grad():
        most = settings.max_tiles_eval
        train, val = (slide_vectors(model, part, data.reader, most) for part in (data.train, data.val))
    known = [labels[slide.slide_id] for slide in data.train]
    absent = [name for name in model.spec.classes if name not in known]
    if absent:
        raise CohortError(
            f"no training slide is {absent[0]!r}", hint="leave that class out of the class texts, or add slides of it"
        )
    progress = Progress()
    best = None
    for strength in STRENGTHS if data.val else (WITHOUT_VALIDATION,):
        progress.epoch += 1
        _set_head(model, *_regression(train[:, :-1].cpu().numpy(), known, strength, settings, model.spec.classes))
        figures = {"train": (data.train, train), "val": (data.val, val)}
        with torch.no_grad():
            found = {
                split: objective.validate(model, [slide.slide_id for slide in slides], vectors)
                for split, (slides, vectors) in figures.items()
                if slides
            }
        progress.record(found)
        loss = found.get("val", found["train"])["loss"]
        if loss < progress.best:
            progress.best, progress.best_epoch = loss, progress.epoch
            best = {name: weight.clone() for name, weight in model.head.state_dict().items()}
        on_epoch(progress)
    if best is not None:
        model.head.load_state_dict(best)
    return progress


def _regression(
    vectors: NDArray[np.float32],
    labels: Sequence[str],
    strength: float,
    settings: TrainSettings,
    classes: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights (K, D) and biases (K,) for vectors (n, D) as they are; they are fitted on standardised ones."""
    from sklearn.linear_model import LogisticRegression

    mean, std = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    weighted = None if settings.balance == "none" else "balanced"
    fitted = LogisticRegression(C=strength, class_weight=weighted, max_iter=5000)
    fitted.fit((vectors - mean) / std, np.array(labels))
    weights, biases = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # of two classes scikit-learn keeps the difference
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    places = [list(fitted.classes_).index(name) for name in classes]
    weights = weights[places] / std
    return weights, biases[places] - weights @ mean


def _set_head(model: LinearProbe, weights: NDArray[np.float64], biases: NDArray[np.float64]) -> None:
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weights))
        model.head.bias.copy_(torch.from_numpy(biases))
