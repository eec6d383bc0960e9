"""The model that settings name."""

from __future__ import annotations

from pipelines.core.settings.train import ModelSettings
from pipelines.model.bag_model import BagModel, ModelSpec
from pipelines.model.baselines.model import BaselineModel
from pipelines.model.five import FiveModel
from pipelines.model.probe import LinearProbe


def build_model(settings: ModelSettings, spec: ModelSpec) -> BagModel:
    """Return FiVE, a linear probe on it, or a baseline with fresh weights."""
    if settings.model != "five":
        return BaselineModel(settings, spec)
    return LinearProbe(settings, spec) if spec.classes else FiveModel(settings, spec)
