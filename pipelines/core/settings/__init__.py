"""One settings class a stage; light to import, so that the CLI takes its defaults from here."""

from pipelines.core.settings.base import Settings, load_settings, require
from pipelines.core.settings.demo import DemoSettings
from pipelines.core.settings.describe_reports import DescribeReportsSettings
from pipelines.core.settings.embed import EmbedSettings, PictureSettings
from pipelines.core.settings.evaluate import EvaluateSettings
from pipelines.core.settings.evaluate_descriptions import EvaluateDescriptionsSettings
from pipelines.core.settings.predict import PredictSettings
from pipelines.core.settings.tile import TileSettings
from pipelines.core.settings.train import TrainSettings

__all__ = [
    "DemoSettings",
    "DescribeReportsSettings",
    "EmbedSettings",
    "EvaluateDescriptionsSettings",
    "EvaluateSettings",
    "PictureSettings",
    "PredictSettings",
    "Settings",
    "TileSettings",
    "TrainSettings",
    "load_settings",
    "require",
]
