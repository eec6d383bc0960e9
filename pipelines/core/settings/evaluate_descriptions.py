"""Settings of ``five evaluate-descriptions``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings
from pipelines.core.settings.bootstrap import BootstrapSettings


@dataclass(frozen=True)
class ReferenceColumns(Settings):
    """Which columns of the reference table are read."""

    column_prefix: str = ""
    """Prefix of the question ids in the column names of the reference table, for example gold_ for gold_margins."""


@dataclass(frozen=True)
class EvaluateDescriptionsSettings(BootstrapSettings, ReferenceColumns):  # fields of the last base come first
    """How descriptions are compared with reference answers."""
