import h5py
import numpy as np
import pytest
import torch

from pipelines.model.data.bags import BagFile, BagReader, all_finite, even_rows, feature_statistics, training_rows
from tests.synthetic_features import TILE, write_bag


@pytest.mark.parametrize(("n", "k"), [(10, 10), (10, 1), (10, 7), (97, 33), (1000, 512), (5, 4)])
def test_training_rows_are_drawn_one_per_stratum_and_reach_every_tile(n, k):
    rng = np.random.default_rng(0)
    draws = np.array([training_rows(n, k, rng) for _ in range(300)])
    for j in range(k):
        first, last = (j * n) // k, ((j + 1) * n) // k - 1
        assert draws[:, j].min() >= first
        assert draws[:, j].max() <= last
    assert set(draws.ravel().tolist()) == set(range(n))  # whatever the ratio
    assert all(len(set(draw)) == k for draw in draws.tolist())


@pytest.mark.parametrize(("n", "k"), [(10, 10), (10, 1), (10, 3), (97, 33), (9, 4)])
def test_even_rows_are_the_midpoints_of_the_strata(n, k):
    assert even_rows(n, k).tolist() == [int((j + 0.5) * n / k) for j in range(k)]


@pytest.fixture
def bag(tmp_path):
    features = np.arange(50 * 3).reshape(50, 3) / 8
    write_bag(tmp_path, "s", features)
    return BagFile("s", tmp_path / "s.h5", 50)


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20], ids=["read each time", "cached"])
def test_a_bag_holds_the_drawn_rows_and_their_positions(bag, cache_bytes):
    reader = BagReader(cache_bytes=cache_bytes)
    for _ in range(2):
        tiles = reader.evaluation(bag, 10)
        rows = np.arange(10) * 5 + 2
        torch.testing.assert_close(
            tiles.features.float(), torch.from_numpy(np.arange(150).reshape(50, 3)[rows] / 8).float()
        )
        assert tiles.file_position.tolist() == pytest.approx((rows / 50).tolist())
        with h5py.File(bag.path) as h5:
            assert (tiles.corners == h5["coords"][:][rows]).all()
        offset = tiles.corners / TILE - tiles.grid_position.numpy()
        np.testing.assert_allclose(
            offset, np.tile(offset[:1], (10, 1)), atol=1e-5
        )  # all tiles are shifted by the same amount
        np.testing.assert_allclose(tiles.grid_position.mean(dim=0), 0, atol=1e-5)


def test_a_cached_bag_is_not_read_again(bag):
    reader = BagReader()
    reader.evaluation(bag, 10)
    bag.path.unlink()
    assert len(reader.evaluation(bag, 50).features) == 50


def test_a_training_bag_has_the_requested_share_of_tiles_between_one_and_the_limit(bag):
    reader, rng = BagReader(), np.random.default_rng(0)
    sizes = [len(reader.training(bag, ratio, limit, rng).features) for ratio, limit in ((0.5, 99), (0.001, 99), (1, 7))]
    assert sizes == [25, 1, 7]


def test_statistics_weight_slides_equally_and_give_constant_channels_a_deviation_of_one(tmp_path):
    write_bag(tmp_path, "a", np.array([[0.0, 5.0], [2.0, 5.0]]))
    write_bag(tmp_path, "b", np.array([[10.0, 5.0]] * 8))
    files = [BagFile(name, tmp_path / f"{name}.h5", n) for name, n in (("a", 2), ("b", 8))]
    mean, std = feature_statistics(files, BagReader())
    assert mean.tolist() == pytest.approx([5.5, 5.0])
    assert std.tolist() == pytest.approx([np.sqrt((2 + 100) / 2 - 5.5**2), 1.0], rel=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_every_value_that_is_not_finite_is_found_whatever_its_place(dtype):
    highest = np.finfo(dtype).max
    for value in (np.nan, -np.nan, np.inf, -np.inf):
        for place in (0, 7, 14):
            features = np.array([highest, -highest, 0, -0.0, np.finfo(dtype).smallest_subnormal] * 3, dtype)
            assert all_finite(features)
            features[place] = value
            assert not all_finite(features)
            assert not all_finite(features.reshape(5, 3).T)
