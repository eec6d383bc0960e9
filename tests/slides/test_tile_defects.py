"""The defects that the benchmark of the filters adds are there, and large enough to be found."""

import numpy as np
import pytest

from pipelines.slides.quality import REASONS
from tests.benchmarks.tile_defects import LEAST_COVER, defects
from tests.slide_files import tissue_drawing

TILE = tissue_drawing(224, 224, [(0, 224, 0, 224)])
OTHER = tissue_drawing(224, 224, [(0, 224, 0, 224)], seed=1)
DEFECTS = list(defects())


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_changes_at_least_the_least_share_of_a_tile(defect):
    for seed in range(10):
        spoilt = defect.make(np.random.default_rng(seed), TILE, OTHER)
        assert spoilt.shape == TILE.shape
        assert spoilt.dtype == np.uint8
        assert (spoilt != TILE).any(axis=2).mean() > 0.95 * LEAST_COVER


def test_names_are_unique_and_reasons_are_those_of_the_filters():
    assert len({defect.name for defect in DEFECTS}) == len(DEFECTS)
    assert {reason for defect in DEFECTS for reason in (defect.filter, *defect.also)} == set(REASONS) - {"unreadable"}
