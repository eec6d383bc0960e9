"""Assign patients to folds with a scikit-learn splitter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any


def assign_folds(
    splitter: Any, patients: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None
) -> dict[str, int]:
    """Return patient -> fold (from 0), assigned by a `StratifiedKFold` or `StratifiedGroupKFold`."""
    fold_of: dict[str, int] = {}
    with warnings.catch_warnings():  # a class with fewer patients than folds is allowed
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, test_rows) in enumerate(splitter.split(patients, labels, groups)):
            fold_of.update({patients[row]: fold for row in test_rows})
    return fold_of
