"""Choose the kind of model from the settings, and build it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pipelines.core.settings.model import PROTOTYPES, ModelSettings
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.baselines.model import BaselineModel
from pipelines.model.networks.baselines.prototypes import PrototypeModel
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.fusion_model import FusionModel
from pipelines.model.networks.linear_probe import LinearProbe
from pipelines.model.networks.tower_texts import TowerLoader

ModelKind = Literal["baseline", "five", "fusion", "probe", "prototypes"]
"""Kinds of model: each has one class here and one fitter in `pipelines.model.training.fitters`."""

MODELS: Mapping[ModelKind, type[BagModel]] = {
    "baseline": BaselineModel,
    "five": FiveModel,
    "fusion": FusionModel,
    "probe": LinearProbe,
    "prototypes": PrototypeModel,
}


def model_kind(settings: ModelSettings, spec: ModelSpec) -> ModelKind:
    """Return the kind of model that ``settings`` and ``spec`` describe."""
    if settings.model in PROTOTYPES:
        return "prototypes"
    if settings.is_baseline:
        return "baseline"
    if not settings.is_fusion:
        return "five"
    return "probe" if spec.classes else "fusion"


def build_model(settings: ModelSettings, spec: ModelSpec, tower: TowerLoader | None = None) -> BagModel:
    """Return an untrained model of the kind that ``settings`` and ``spec`` describe.

    Parameters
    ----------
    tower
        Loads the text tower of the encoder; only called for a model that uses it.
    """
    kind = model_kind(settings, spec)
    return FiveModel(settings, spec, tower) if kind == "five" else MODELS[kind](settings, spec)
