"""Detect useless features: NaN, infinite, or the same for all tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import EncoderError


class FeatureSanity:
    """Checks the features of one slide, batch by batch."""

    def __init__(self, slide_id: str) -> None:
        self._slide_id = slide_id
        self._first: NDArray[Any] | None = None
        self._n_tiles = 0
        self._features_differ = False

    def add(self, features: NDArray[Any]) -> None:
        """Check a batch (B, D).

        Raises
        ------
        EncoderError
            A value is NaN or infinite, for example because it overflowed its dtype.
        """
        if not np.isfinite(features).all():
            raise EncoderError(
                f"{self._slide_id}: the encoder returned features that are not finite in {features.dtype}",
                hint="try --precision fp32 and --dtype float32, and check the weights",
            )
        if len(features) and not self._features_differ:
            self._first = features[0].copy() if self._first is None else self._first
            self._features_differ = bool((features != self._first).any())
        self._n_tiles += len(features)

    def finish(self) -> None:
        """Raise `EncoderError` if there are several tiles and all have the same features."""
        if self._n_tiles > 1 and not self._features_differ:
            raise EncoderError(
                f"{self._slide_id}: all {self._n_tiles} tiles have the same features",
                hint="check the slide's picture in the qc/ folder of `five tile`, and check the weights",
            )
