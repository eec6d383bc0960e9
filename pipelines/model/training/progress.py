"""Progress of a run: epochs, weight updates and metrics so far."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """Epochs, weight updates and metrics of a run so far."""

    epoch: int = 0
    """Number of finished epochs."""
    step: int = 0
    """Number of weight updates."""
    best_epoch: int = 0
    best: float = math.inf
    """Validation loss of the best epoch."""
    seconds: float = 0.0
    """Time spent on training and validation."""
    waited: float = 0.0
    """Seconds of that time in which the computation waited for data."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the METRICS table."""

    def metrics(self, epoch: int) -> dict[str, float]:
        """Return the metrics of an epoch, named ``<split>_<metric>``."""
        return {f"{row['split']}_{row['name']}": row["value"] for row in self.history if row["epoch"] == epoch}

    def record(self, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add the metrics of the current epoch: split -> name -> value."""
        self.history += [
            {"epoch": self.epoch, "split": split, "name": name, "value": value}
            for split, values in metrics.items()
            for name, value in values.items()
        ]
