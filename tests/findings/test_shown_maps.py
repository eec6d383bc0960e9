from dataclasses import replace

import numpy as np
from scipy.stats import spearmanr

from pipelines.core.attention_file import AttentionMaps
from pipelines.findings.shown_maps import SAME, distinct_maps, maps_to_show


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


def joint_maps(texts, similarities, *, classes, weights=None):
    """Return maps without a trained model; by default all tiles weigh the same."""
    prompts = [name for name in texts if name != "other"]
    similarities = np.array(similarities, float)
    n_tiles = similarities.shape[1]
    if weights is None:
        weights = np.full((len(prompts), n_tiles), 1 / n_tiles)
    return AttentionMaps(
        weights, prompts, np.zeros((n_tiles, 2), int), 448, weights[: len(classes)], classes, texts, similarities
    )


class TestMapsWithoutATrainedModel:
    def test_first_comes_how_much_more_a_tile_resembles_the_predicted_class_than_any_other_text(self):
        maps = joint_maps(["a", "b", "other"], [[0.5, 0.2, 0.1], [0.2, 0.4, 0.3], [0.1, 0.1, 0.4]], classes=["a", "b"])
        shown, names = maps_to_show(maps, 1, 0)
        assert names == ["speaks for b", "similar to a", "similar to b"]
        np.testing.assert_allclose(shown[0], [0.2 - 0.5, 0.4 - 0.2, 0.3 - 0.4])
        np.testing.assert_allclose(shown[1:], [[0.5, 0.2, 0.1], [0.2, 0.4, 0.3]])

    def test_each_question_shows_what_speaks_for_its_preferred_answer(self):
        maps = joint_maps(
            ["q=yes", "q=no", "r=up", "r=down"],
            [[0.1, 0.2, 0.3], [0.3, 0.4, 0.2], [0.9, 0.1, 0.8], [0.1, 0.2, 0.1]],
            classes=[],
        )
        shown, names = maps_to_show(maps, None, 0)
        assert names == ["q: no", "r: up"]
        np.testing.assert_allclose(shown, [[0.2, 0.2, -0.1], [0.8, -0.1, 0.7]])

    def test_the_preferred_answer_is_that_of_the_weighted_tiles(self):
        weights = np.array([[1.0, 0.0], [1.0, 0.0]])
        maps = joint_maps(["q=yes", "q=no"], [[0.5, 0.0], [0.4, 0.9]], classes=[], weights=weights)
        assert maps_to_show(maps, None, 0)[1] == ["q: yes"]

    def test_a_class_that_is_called_other_or_like_an_answer_is_a_class(self):
        maps = joint_maps(["x=y", "z"], [[0.1, 0.2], [0.2, 0.1]], classes=["x=y", "z"])
        assert maps_to_show(maps, 0, 0)[1] == ["speaks for x=y", "similar to x=y", "similar to z"]


class TestMapsOfATrainedModel:
    maps = AttentionMaps(
        np.array([[0.1, 0.2, 0.7], [0.7, 0.2, 0.1], [0.3, 0.4, 0.3]]),
        ["growth", "margins", "diagnosis_1"],
        np.zeros((3, 2), int),
        448,
        np.array([[1.0, 2, 3], [3.0, 2, 1]]),
        ["a", "b"],
    )

    def test_first_comes_what_speaks_for_the_predicted_class_then_the_questions(self):
        shown, names = maps_to_show(self.maps, 1, 2)
        assert names == ["speaks for b", "growth", "margins"]
        np.testing.assert_allclose(shown[0], [1, 0, -1])

    def test_without_contributions_the_mean_of_the_questions_comes_first(self):
        shown, names = maps_to_show(replace(self.maps, contributions=np.zeros((0, 3)), classes=[]), 1, 2)
        assert names == ["mean of these", "growth", "margins"]
        np.testing.assert_allclose(shown[0], [0.4, 0.2, 0.4])
