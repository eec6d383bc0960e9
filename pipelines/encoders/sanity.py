"""Features that are of no use: not finite, or the same for all tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import EncoderError


class FeatureSanity:
    """Looks at the features of one slide, batch by batch."""

    def __init__(self, slide_id: str) -> None:
        self._slide_id = slide_id
        self._first: NDArray[Any] | None = None
        self._rows = 0
        self._differ = False

    def add(self, features: NDArray[Any]) -> None:
        """Take a batch (B, D) into account.

        Raises
        ------
        EncoderError
            A value is NaN or infinite, also where it overflowed its type.
        """
        if not np.isfinite(features).all():
            raise EncoderError(
                f"{self._slide_id}: the encoder gave features that are not finite in {features.dtype}",
                hint="try --precision fp32 and --dtype float32, and check the weights",
            )
        if len(features) and not self._differ:
            self._first = features[0].copy() if self._first is None else self._first
            self._differ = bool((features != self._first).any())
        self._rows += len(features)

    def finish(self) -> None:
        """Raise `EncoderError` if all of several tiles have the same features."""
        if self._rows > 1 and not self._differ:
            raise EncoderError(
                f"{self._slide_id}: all {self._rows} tiles have the same features",
                hint="look at the slide's picture in qc/ of `five tile`, and check the weights",
            )
