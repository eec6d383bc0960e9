"""Fit baselines that compare slides with the mean slide of each class: one pass over the slides."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

from pipelines.model.data.batches import Data
from pipelines.model.networks.baselines.prototypes import PrototypeModel
from pipelines.model.training.progress import Progress
from pipelines.model.training.tasks import require_all_classes


def fit_prototypes(
    model: PrototypeModel,
    labels: Mapping[str, str],
    data: Data,
    *,
    max_tiles: int,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Set the prototypes of ``model`` from the training slides; this counts as one epoch.

    Parameters
    ----------
    labels
        Slide id -> class.
    max_tiles
        Maximum number of tiles per slide, evenly spaced.

    Raises
    ------
    CohortError
        A class has no training slide.
    """
    names = model.spec.classes
    train_labels = [labels[slide.slide_id] for slide in data.train]
    require_all_classes(names, train_labels)
    targets = torch.tensor([names.index(label) for label in train_labels], device=model.device)
    progress = Progress(epoch=1, best_epoch=1)
    with torch.no_grad():
        slides = torch.cat([model.pooled([data.reader.evaluation(slide, max_tiles)]) for slide in data.train])
        model.set_prototypes(slides, targets)
        vectors = functional.pad(model.prepared(slides), (0, 1), value=1.0)
        logits = model.logits(vectors, model.encode_classes({name: [] for name in names}))
        metrics = {
            "loss": float(functional.cross_entropy(logits, targets)),
            "accuracy": float((logits.argmax(dim=1) == targets).float().mean()),
        }
    progress.record({"train": metrics})
    progress.best = metrics["loss"]
    on_epoch(progress)
    return progress
