"""Fit a linear probe: a logistic regression on the bag embeddings of a frozen FiVE network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.batches import Data
from pipelines.model.networks.linear_probe import LinearProbe
from pipelines.model.networks.slide_vectors import slide_vectors
from pipelines.model.training.objectives import Objective, metrics_by_split
from pipelines.model.training.progress import Progress
from pipelines.model.training.tasks import require_all_classes

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Values of C, the inverse regularization strength, from which validation chooses one."""
WITHOUT_VALIDATION = 1.0
"""Value of C if there are no validation slides."""


def fit_probe(
    model: LinearProbe,
    objective: Objective,
    labels: Mapping[str, str],
    data: Data,
    settings: TrainSettings,
    *,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit the linear layer of ``model`` in place with each of `STRENGTHS`; keep the fit of lowest validation loss.

    Parameters
    ----------
    labels
        Slide id -> class.

    Returns
    -------
    Progress
        Each epoch is one of the strengths.

    Raises
    ------
    CohortError
        A class has no training slide.
    """
    model.eval()
    with torch.no_grad():
        train, val = (
            slide_vectors(model, part, data.reader, settings.max_tiles_eval) for part in (data.train, data.val)
        )
    train_labels = [labels[slide.slide_id] for slide in data.train]
    require_all_classes(model.spec.classes, train_labels)
    splits = {"train": (data.train, train), "val": (data.val, val)}
    progress = Progress()
    best = None
    for strength in STRENGTHS if data.val else (WITHOUT_VALIDATION,):
        progress.epoch += 1
        embeddings = train[:, :-1].cpu().numpy()  # without the 1 of the bias
        _set_head(model, *_regression(embeddings, train_labels, strength, settings, model.spec.classes))
        with torch.no_grad():
            metrics = metrics_by_split(objective, model, splits)
        progress.record(metrics)
        loss = metrics.get("val", metrics["train"])["loss"]
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
    """Return weights (K, D) and biases (K,) that apply to ``vectors`` (n, D); the fit standardizes the vectors."""
    from sklearn.linear_model import LogisticRegression

    mean, std = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
    class_weight = None if settings.balance == "none" else "balanced"
    fitted = LogisticRegression(C=strength, class_weight=class_weight, max_iter=5000)
    fitted.fit((vectors - mean) / std, np.array(labels))
    weights, biases = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # for two classes scikit-learn returns only the difference
        weights, biases = np.concatenate([-weights, weights]) / 2, np.concatenate([-biases, biases]) / 2
    order = [list(fitted.classes_).index(name) for name in classes]
    weights = weights[order] / std
    return weights, biases[order] - weights @ mean


def _set_head(model: LinearProbe, weights: NDArray[np.float64], biases: NDArray[np.float64]) -> None:
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(weights))
        model.head.bias.copy_(torch.from_numpy(biases))
