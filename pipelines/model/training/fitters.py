"""How each kind of model is fitted: by gradient descent or in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import BagFile
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.baselines.prototypes import PrototypeModel
from pipelines.model.networks.build import ModelKind, model_kind
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.linear_probe import LinearProbe
from pipelines.model.training.fit_five import fit_five
from pipelines.model.training.fit_probe import fit_probe
from pipelines.model.training.fit_prototypes import fit_prototypes
from pipelines.model.training.loop import fit
from pipelines.model.training.progress import Progress
from pipelines.model.training.resume import ResumeFile
from pipelines.model.training.run import TrainingRun

if TYPE_CHECKING:
    from accelerate import Accelerator

M = TypeVar("M", bound=BagModel, contravariant=True)
OnEpoch = Callable[[Progress], None]


class Fitter(Protocol[M]):
    """Fits one kind of model."""

    def fit(
        self, model: M, run: TrainingRun, resume: ResumeFile, accelerator: Accelerator, on_epoch: OnEpoch
    ) -> Progress:
        """Fit ``model`` in place, and call ``on_epoch`` after each epoch.

        Parameters
        ----------
        resume
            State of an interrupted run; only gradient descent uses it.

        Raises
        ------
        FiveError
            A class has no training slide, or the loss is not finite.
        """
        ...

    def trained_by_gradient(self, model: M) -> BagModel | None:
        """Return the part of ``model`` that gradient descent trains, or None."""
        ...

    def learns_from(self, data: Data) -> Sequence[BagFile]:
        """Return the slides to whose labels or descriptions weights are fitted.

        Validation slides that only choose an epoch or a strength are not among them.
        """
        ...


class _LearnsFromTraining:
    def learns_from(self, data: Data) -> Sequence[BagFile]:
        """Return the training slides."""
        return data.train


class GradientFitter(_LearnsFromTraining):
    """Gradient descent over the whole model."""

    def fit(
        self, model: BagModel, run: TrainingRun, resume: ResumeFile, accelerator: Accelerator, on_epoch: OnEpoch
    ) -> Progress:
        """Train ``model`` epoch by epoch; keep the weights of the best epoch."""
        return fit(
            model, run.task.objective, run.data, run.settings, resume, accelerator=accelerator, on_epoch=on_epoch
        )

    def trained_by_gradient(self, model: BagModel) -> BagModel:
        """Return ``model``."""
        return model


class ProbeFitter(_LearnsFromTraining):
    """A logistic regression on a frozen network."""

    def fit(
        self, model: LinearProbe, run: TrainingRun, resume: ResumeFile, accelerator: Accelerator, on_epoch: OnEpoch
    ) -> Progress:
        """Fit the linear layer of ``model``; each epoch is one regularization strength."""
        return fit_probe(model, run.task.objective, run.task.labels, run.data, run.settings, on_epoch=on_epoch)

    def trained_by_gradient(self, model: LinearProbe) -> None:
        """Return None."""


class _LearnsFromValidationToo:
    """Nothing is chosen by validation, so that these slides are for learning, too."""

    def learns_from(self, data: Data) -> Sequence[BagFile]:
        """Return the training and validation slides; few-shot runs have no validation slides."""
        return [*data.train, *data.val]

    def everything(self, data: Data) -> Data:
        """Return ``data`` with all of these slides for training."""
        return replace(data, train=self.learns_from(data), val=[])


class PrototypeFitter(_LearnsFromValidationToo):
    """The mean slide of each class."""

    def fit(
        self, model: PrototypeModel, run: TrainingRun, resume: ResumeFile, accelerator: Accelerator, on_epoch: OnEpoch
    ) -> Progress:
        """Set the prototypes of ``model``."""
        max_tiles = run.settings.max_tiles_eval
        return fit_prototypes(model, run.task.labels, self.everything(run.data), max_tiles=max_tiles, on_epoch=on_epoch)

    def trained_by_gradient(self, model: PrototypeModel) -> None:
        """Return None."""


class FiveFitter(_LearnsFromValidationToo):
    """The closed form of FiVE; takes seconds to minutes."""

    def fit(
        self, model: FiveModel, run: TrainingRun, resume: ResumeFile, accelerator: Accelerator, on_epoch: OnEpoch
    ) -> Progress:
        """Fit ``model``."""
        everything, max_tiles = self.everything(run.data), run.settings.max_tiles_eval
        return fit_five(model, run.task.objective, everything, max_tiles=max_tiles, on_epoch=on_epoch)

    def trained_by_gradient(self, model: FiveModel) -> None:
        """Return None."""


FITTERS: Mapping[ModelKind, Fitter[Any]] = {
    "baseline": GradientFitter(),
    "five": FiveFitter(),
    "fusion": GradientFitter(),
    "probe": ProbeFitter(),
    "prototypes": PrototypeFitter(),
}


def fitter_of(model: BagModel) -> Fitter[Any]:
    """Return the fitter for the kind of ``model``."""
    return fitter_for(model.settings, model.spec)


def fitter_for(settings: ModelSettings, spec: ModelSpec) -> Fitter[Any]:
    """Return the fitter for the kind of model that ``settings`` and ``spec`` describe."""
    return FITTERS[model_kind(settings, spec)]
