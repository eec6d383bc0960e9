"""Linear probe: a logistic regression on the bag embeddings of a FiVE model that does not change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.errors import CohortError
from pipelines.core.settings.train import ModelSettings, TrainSettings
from pipelines.model.bag_model import ModelSpec
from pipelines.model.bags import TileBag
from pipelines.model.batches import Data
from pipelines.model.five import FiveModel
from pipelines.model.objectives import Objective
from pipelines.model.progress import Progress
from pipelines.model.slide_vectors import slide_vectors

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Values of C, the inverse of the regularisation, of which validation chooses one."""
WITHOUT_VALIDATION = 1.0
"""C where no slide validates."""


class LinearProbe(FiveModel):
    """FiVE whose classes are the rows of a linear layer instead of texts.

    The vector of a bag is its embedding with a 1 appended, that of a class its weights and its bias.
    """

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.head = nn.Linear(settings.width, len(spec.classes))

    @property
    def vector_width(self) -> int:
        """Channels of the model and one for the bias."""
        return self.settings.width + 1

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return 0: texts of classes are not read."""
        return 0

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return the embeddings of the bags with a 1 appended, (B, D + 1)."""
        return functional.pad(super().encode_bags(bags, prompts), (0, 1), value=1.0)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embedding of one bag with a 1 appended, (1, D + 1), and what each prompt looks at, (P, N)."""
        vector, maps = super().attend(bag, prompts)
        return functional.pad(vector, (0, 1), value=1.0), maps

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return weights and bias of each class, (K, D + 1); the texts of the classes are not read."""
        rows = torch.cat([self.head.weight, self.head.bias[:, None]], dim=1)
        return rows[self.class_places(classes)]


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
