"""The defects that the filter benchmark adds are present, and large enough to be detected."""

import numpy as np
import pytest

from pipelines.slides.quality import REASONS
from tests.benchmarks.tile_defects import MIN_COVER, defects
from tests.slide_files import tissue_drawing

TILE = tissue_drawing(224, 224, [(0, 224, 0, 224)])
OTHER = tissue_drawing(224, 224, [(0, 224, 0, 224)], seed=1)
DEFECTS = list(defects())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_changes_at_least_the_minimum_share_of_a_tile(defect):
    for seed in range(10):
        changed = defect.make(np.random.default_rng(seed), TILE, OTHER)
        assert changed.shape == TILE.shape
        assert changed.dtype == np.uint8
        assert (changed != TILE).any(axis=2).mean() > 0.95 * MIN_COVER


def test_names_are_unique_and_all_reasons_of_the_filters_occur():
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert {reason for defect in DEFECTS for reason in (defect.filter, *defect.also)} == set(REASONS) - {"unreadable"}
