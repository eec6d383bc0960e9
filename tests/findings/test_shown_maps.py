import numpy as np
from scipy.stats import spearmanr

from pipelines.findings.shown_maps import SAME, distinct_maps


def test_maps_with_the_same_order_of_tiles_are_shown_once_under_both_names():
    first = np.array([0.1, 0.2, 0.3, 0.4])
    maps, names = distinct_maps(np.stack([first, first**3, first[::-1]]), ["growth", "margins", "extent"])
    assert names == ["growth = margins", "extent"]
    assert maps.tolist() == [first.tolist(), first[::-1].tolist()]


def test_maps_are_compared_by_their_rank_correlation():
    rng = np.random.default_rng(0)
    for noise in (0.01, 0.1, 0.3, 1.0):
        first = rng.random(200)
        second = first + noise * rng.random(200)
        _, names = distinct_maps(np.stack([first, second]), ["a", "b"])
        assert (len(names) == 1) == (spearmanr(first, second).statistic >= SAME)


def test_flat_maps_are_shown_once_and_apart_from_others():
    maps, names = distinct_maps(np.array([[0.5, 0.5], [0.5, 0.5], [0.2, 0.8]]), ["a", "b", "c"])
    assert names == ["a = b", "c"]
    assert maps.shape == (2, 2)
