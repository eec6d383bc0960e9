"""Patients dealt into folds by a splitter of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any


def deal(splitter: Any, patients: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None) -> dict[str, int]:
    """Return patient -> fold, from 0, as ``splitter`` (a `StratifiedKFold` or a grouped one) deals them."""
    fold_of: dict[str, int] = {}
    with warnings.catch_warnings():  # classes smaller than the number of folds are dealt out as far as they go
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, tested) in enumerate(splitter.split(patients, labels, groups)):
            fold_of.update({patients[row]: fold for row in tested})
    return fold_of
