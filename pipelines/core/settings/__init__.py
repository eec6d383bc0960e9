"""One settings class per stage. They import quickly, so that the commands can take their options from them."""

from pipelines.core.settings.base import Settings, load_settings, require
from pipelines.core.settings.demo import DemoSettings
from pipelines.core.settings.describe_reports import DescribeReportsSettings
from pipelines.core.settings.embed import EmbedSettings, PictureSettings
from pipelines.core.settings.evaluate import EvaluateSettings
from pipelines.core.settings.evaluate_descriptions import EvaluateDescriptionsSettings
from pipelines.core.settings.fields import FieldRules, Limits, Panel, choices_of, field_rules
from pipelines.core.settings.predict import PredictSettings
from pipelines.core.settings.tile import TileSettings
from pipelines.core.settings.train import TrainSettings

__all__ = [
    "DemoSettings",
    "DescribeReportsSettings",
    "EmbedSettings",
    "EvaluateDescriptionsSettings",
    "EvaluateSettings",
    "FieldRules",
    "Limits",
    "Panel",
    "PictureSettings",
    "PredictSettings",
    "Settings",
    "TileSettings",
    "TrainSettings",
    "choices_of",
    "field_rules",
    "load_settings",
    "require",
]
