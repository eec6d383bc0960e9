"""The model that settings name."""

from __future__ import annotations

from pipelines.core.settings.train import ModelSettings
from pipelines.model.bag_model import BagModel, ModelSpec
from pipelines.model.baselines.model import BaselineModel
from pipelines.model.five import FiveModel


def build_model(settings: ModelSettings, spec: ModelSpec) -> BagModel:
    """Return FiVE or a baseline with fresh weights."""
    return FiveModel(settings, spec) if settings.model == "five" else BaselineModel(settings, spec)
