"""The tile grid is compared with exact arithmetic, the tile means with a brute-force count."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.slides.grid import tile_grid, tile_means


def test_neighbors_touch_if_the_tile_is_a_whole_number_of_pixels():
    grid = tile_grid((1000, 500), 224, 0, 1.0)
    assert grid.size == 224
    assert sorted(set(grid.x.tolist())) == [0, 224, 448, 672]
    assert sorted(set(grid.y.tolist())) == [0, 224]
    assert grid.col[:4].tolist() == [0, 1, 2, 3]
    assert grid.row.tolist() == [0] * 4 + [1] * 4


def test_overlap_is_in_pixels_as_the_encoder_sees_them():
    grid = tile_grid((1000, 448), 224, 56, 2.0)  # 448 px at level 0, every 336
    assert sorted(set(grid.x.tolist())) == [0, 336]


@pytest.mark.parametrize("dimensions", [(223, 1000), (1000, 223), (1, 1)])
def test_a_slide_smaller_than_a_tile_has_no_tiles(dimensions):
    assert len(tile_grid(dimensions, 224, 0, 1.0)) == 0


def test_a_slide_as_large_as_a_tile_has_one_tile():
    assert len(tile_grid((224, 224), 224, 0, 1.0)) == 1


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.integers(16, 300), st.integers(0, 15), st.sampled_from(
        [0.263, 0.25, 0.2309, 0.5, 0.499, 0.1]
    )
)  # fmt: skip
def test_rounding_errors_do_not_add_up_and_no_complete_tile_is_left_out(width, height, tile_size, overlap, mpp):
    grid = tile_grid((width, height), tile_size, overlap, 0.5 / mpp)
    step = (tile_size - overlap) * Fraction(0.5 / mpp)
    exact = [step * k for k in range(width)]
    xs = np.unique(grid.x).tolist()
    assert all(abs(x - exact[k]) <= Fraction(1, 2) + Fraction(1, 10**6) for k, x in enumerate(xs))
    assert all(x + grid.size <= width for x in xs)
    if len(grid):
        assert round(exact[len(xs)]) + grid.size >= width  # the next one would cross the edge
    assert len(grid) == len(xs) * len(np.unique(grid.y))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40), st.integers(3, 40), st.sampled_from([7, 16, 30]))
def test_means_equal_a_brute_force_count(seed, height, width, tile_size):
    """Every mask pixel is 16 x 16 level-0 pixels here, so brute force can count level-0 pixels."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    level0 = np.kron(mask, np.ones((16, 16)))
    grid = tile_grid((width * 16, height * 16), tile_size, 0, 1.37)
    expected = [level0[y : y + grid.size, x : x + grid.size].mean() for x, y in zip(grid.x, grid.y, strict=True)]
    assert tile_means(mask, grid, (16.0, 16.0)) == pytest.approx(expected, abs=1e-5)


def test_tiles_outside_the_mask_have_a_mean_of_exactly_0():
    mask = np.zeros((2000, 2000), bool)
    mask[:1000:3, :1000:7] = True
    grid = tile_grid((60_000, 60_000), 224, 0, 1.9)
    outside = (grid.x > 30_000) | (grid.y > 30_000)
    assert (tile_means(mask, grid, (30.0, 30.0))[outside] == 0).all()
