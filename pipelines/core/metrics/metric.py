"""The value of one metric with its confidence interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """One metric with its 95 % interval."""

    name: str
    value: float | None
    """None if the metric is undefined."""
    low: float | None = None
    """Lower end, for example the 2.5th percentile over the resamples; None without an interval."""
    high: float | None = None
    """Upper end; None without an interval."""
    note: str = ""
    """Why the value or its interval is missing, or which classes the value leaves out."""
