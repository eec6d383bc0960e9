"""How far a run has come, and what was measured on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a run has come."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Weight updates that are done."""
    best_epoch: int = 0
    best: float = math.inf
    """Validation loss of the best epoch."""
    seconds: float = 0.0
    """Time that training and validation took."""
    waited: float = 0.0
    """Seconds of it in which there were no data to compute on."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the METRICS table."""

    def figures(self, epoch: int) -> dict[str, float]:
        """Return the figures of an epoch, named ``<split>_<figure>``."""
        return {f"{row['split']}_{row['name']}": row["value"] for row in self.history if row["epoch"] == epoch}

    def record(self, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Note the figures of an epoch, by split and name."""
        self.history += [
            {"epoch": self.epoch, "split": split, "name": name, "value": value}
            for split, found in figures.items()
            for name, value in found.items()
        ]
