"""The model that settings name."""

from __future__ import annotations

from pipelines.core.settings.model import BASELINES, ModelSettings
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.baselines.model import BaselineModel
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.joint import JointFive
from pipelines.model.networks.linear_probe import LinearProbe


def build_model(settings: ModelSettings, spec: ModelSpec) -> BagModel:
    """Return FiVE with or without its closed form, a linear probe on it, its closed form, or a baseline; untrained."""
    if settings.model in BASELINES:
        return BaselineModel(settings, spec)
    if settings.model == "five-linear":
        return LinearFive(settings, spec)
    if spec.classes:
        return LinearProbe(settings, spec)
    return JointFive(settings, spec) if settings.closed_form else FiveModel(settings, spec)
