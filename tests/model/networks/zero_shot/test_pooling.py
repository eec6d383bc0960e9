import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipelines.core.settings.zero_shot import ZeroShotSettings
from pipelines.model.networks.zero_shot.pooling import tile_weights, top_count, top_weights

NONE = np.zeros((0, 4))
LN3 = np.log(3)


def weights(similarities, other=NONE, temperature=1.0, **chosen):
    return tile_weights(np.array(similarities, float), np.array(other), ZeroShotSettings(**chosen), temperature)


class TestWorkedNumbers:
    def test_topk_takes_the_most_similar_tiles_of_each_text_by_itself(self):
        found = weights([[0.1, 0.4, 0.3, 0.2], [0.4, 0.1, 0.2, 0.3]], top_min=2)
        assert found.tolist() == [[0, 0.5, 0.5, 0], [0.5, 0, 0, 0.5]]

    def test_mean_weighs_all_tiles_equally(self):
        assert weights([[0.1, 0.4, 0.3, 0.2]], pooling="mean").tolist() == [[0.25] * 4]

    def test_attention_is_a_softmax_over_the_tiles(self):
        found = weights([[0.0, 0.0, 0.0, LN3 / 10]], pooling="attention", temperature=0.1)
        assert found == pytest.approx(np.array([[1, 1, 1, 3]]) / 6)

    def test_with_other_tissue_only_tiles_that_prefer_a_text_count(self):
        similarities = [[0.9, 0.5, 0.1, 0.4], [0.8, 0.1, 0.4, 0.3]]
        other = [[0.9, 0.1, 0.1, 0.2], [0.0, 0.2, 0.3, 0.0]]  # evidence: 0.0, 0.3, 0.1, 0.2
        assert weights(similarities, other, pooling="mean", top_min=1) == pytest.approx(
            np.array([[0, 1, 1, 1]] * 2) / 3
        )
        topk = weights(similarities, other, top_share=0.6, top_min=1)  # 2 of the 3 tiles
        assert topk.tolist() == [[0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5]]
        attention = weights([[9.0, 0.0, LN3]], [[9.0, -1, -1]], pooling="attention", top_min=1)
        assert attention == pytest.approx(np.array([[0, 0.25, 0.75]]))

    def test_topk_takes_three_in_ten_of_the_tiles_that_count_and_two_in_hundred_of_all(self):
        similarities, other = np.arange(20)[None] / 20, np.full((1, 20), 0.45)
        assert np.flatnonzero(weights(similarities, other, top_min=1)).tolist() == [17, 18, 19]  # of 10
        assert np.flatnonzero(weights(similarities, np.zeros((0, 20)), top_min=1)).tolist() == [19]

    def test_if_too_few_tiles_prefer_a_text_those_with_the_most_evidence_count(self):
        similarities, other = [[0.1, 0.2, 0.3, 0.4]], [[0.05, 0.3, 0.5, 0.5]]  # evidence: 0.05, -0.1, -0.2, -0.1
        assert weights(similarities, other, pooling="mean", top_min=2) == pytest.approx(np.array([[1, 1, 0, 1]]) / 3)
        assert weights(similarities, other, pooling="mean", top_min=9) == pytest.approx(np.array([[0.25] * 4]))

    def test_tiles_that_tie_for_the_last_place_share_it(self):
        assert top_weights(np.array([[0.5, 0.9, 0.5, 0.5]]), 2)[0] == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6])

    @pytest.mark.parametrize(("n_tiles", "k"), [(1, 1), (2, 2), (3, 3), (100, 3), (150, 3), (151, 4), (10_000, 200)])
    def test_the_share_is_rounded_up_and_limited_by_the_minimum_and_the_tiles(self, n_tiles, k):
        assert top_count(n_tiles, 0.02, 3) == k


COSINES = st.floats(-1, 1, width=32)


@st.composite
def cases(draw):
    n = draw(st.integers(1, 12))
    similarities = draw(arrays(np.float32, (draw(st.integers(1, 3)), n), elements=COSINES))
    other = draw(arrays(np.float32, (draw(st.integers(0, 2)), n), elements=COSINES))
    chosen = ZeroShotSettings(
        pooling=draw(st.sampled_from(["topk", "mean", "attention"])),
        top_share=draw(st.none() | st.floats(0.01, 1)),
        top_min=draw(st.integers(1, 5)),
    )
    return similarities, other, chosen, draw(st.sampled_from([1e-3, 0.01, 1.0]))


@settings(max_examples=200)
@given(cases())
def test_weights_are_shares_and_do_not_depend_on_the_order_of_the_tiles(case):
    similarities, other, chosen, temperature = case
    found = tile_weights(similarities, other, chosen, temperature)
    assert found.shape == similarities.shape
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    order = np.random.default_rng(0).permutation(similarities.shape[1])
    turned = tile_weights(similarities[:, order], other[:, order], chosen, temperature)
    np.testing.assert_allclose(turned, found[:, order], atol=1e-6)


@settings(max_examples=100)
@given(arrays(np.float64, st.tuples(st.integers(1, 3), st.integers(1, 20)), elements=COSINES), st.integers(1, 20))
def test_topk_gives_the_mean_of_the_highest_values(values, k):
    k = min(k, values.shape[1])
    found = (top_weights(values, k) * values).sum(axis=1)
    np.testing.assert_allclose(found, np.sort(values, axis=1)[:, -k:].mean(axis=1), atol=1e-12)


@pytest.mark.parametrize("pooling", ["topk", "mean", "attention"])
def test_tiles_of_other_tissue_do_not_change_the_score(pooling):
    few = np.array([[0.6, 0.5, 0.4, 0.3], [0.1, 0.2, 0.3, 0.2]])
    many = np.hstack([few, np.full((2, 96), 0.9)])
    other = np.hstack([np.zeros((1, 4)), np.ones((1, 96))])
    alone = weights(few, other[:, :4], pooling=pooling)
    assert weights(many, other, pooling=pooling)[:, :4] == pytest.approx(alone)
