"""How a model is fitted, by its kind: in steps, in closed form, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.networks.joint import JointFive
from pipelines.model.networks.linear_probe import LinearProbe
from pipelines.model.training.fit_closed_form import fit_linear_five
from pipelines.model.training.fit_probe import fit_probe
from pipelines.model.training.loop import fit
from pipelines.model.training.network_weight import is_worth_hearing
from pipelines.model.training.objectives import DescriptionMatching
from pipelines.model.training.progress import Progress
from pipelines.model.training.run import TrainingRun

if TYPE_CHECKING:
    from accelerate import Accelerator

DOUBT = 16
"""Labelled slides at which a network counts half: from one of each class it learns little that holds for others."""


def fit_model(
    model: BagModel,
    run: TrainingRun,
    states: Path,
    *,
    run_id: str,
    accelerator: Accelerator,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit ``model`` in place as ``run`` asks.

    Parameters
    ----------
    states, run_id
        Of what is trained in steps: the file from which an interrupted run with this id goes on.

    Raises
    ------
    FiveError
        A class has no training slide, or the loss is not a number.
    """
    objective, data, settings = run.task.objective, run.data, run.settings
    most = settings.max_tiles_eval
    if isinstance(model, LinearProbe):
        return fit_probe(model, objective, run.task.labels, data, settings, on_epoch=on_epoch)
    if isinstance(model, LinearFive):
        return fit_linear_five(model, objective, data, most_tiles=most, on_epoch=on_epoch)
    in_steps = partial(fit, run_id=run_id, accelerator=accelerator, on_epoch=on_epoch)
    if not isinstance(model, JointFive):
        return in_steps(model, objective, data, settings, states)
    progress = in_steps(model.network, objective, data, settings, states)
    everybody = replace(data, train=[*data.train, *data.val], val=[])
    fit_linear_five(model.linear, objective, everybody, most_tiles=most)
    if isinstance(objective, DescriptionMatching):
        model.heard.fill_(is_worth_hearing(model.network, objective.answers, data, most_tiles=most))
    else:
        model.heard.fill_(len(data.train) / (len(data.train) + DOUBT))
    return progress


def trained_in_steps(model: BagModel) -> BagModel | None:
    """Return what of ``model`` is trained in steps; None if nothing is."""
    if isinstance(model, (LinearProbe, LinearFive)):
        return None
    return model.network if isinstance(model, JointFive) else model
