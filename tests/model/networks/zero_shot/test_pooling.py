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

    def test_with_other_tissue_the_tiles_with_the_most_evidence_count_for_all_texts(self):
        similarities = [[0.9, 0.5, 0.1, 0.0], [0.8, 0.1, 0.4, 0.0]]
        other = [[0.9, 0.1, 0.1, 0.2], [0.0, 0.2, 0.1, 0.0]]  # evidence: 0.0, 0.3, 0.3, -0.2
        assert weights(similarities, other, top_min=2).tolist() == [[0, 0.5, 0.5, 0]] * 2

    def test_with_other_tissue_attention_follows_the_evidence(self):
        found = weights([[0.5, 0.5], [0.1, 0.2]], [[0.5, 0.5 - LN3]], pooling="attention")
        assert found == pytest.approx(np.array([[0.25, 0.75]] * 2))

    def test_with_other_tissue_the_mean_weighs_by_the_sigmoid_of_the_evidence(self):
        found = weights([[0.5, 0.5 + LN3]], [[0.5, 0.5]], pooling="mean")  # sigmoid: 1/2 and 3/4
        assert found == pytest.approx(np.array([[0.4, 0.6]]))

    def test_tiles_that_tie_for_the_last_place_share_it(self):
        assert top_weights(np.array([[0.5, 0.9, 0.5, 0.5]]), 2)[0] == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6])

    @pytest.mark.parametrize(("n_tiles", "k"), [(1, 1), (2, 2), (3, 3), (100, 3), (150, 3), (151, 4), (10_000, 200)])
    def test_the_share_is_rounded_up_and_limited_by_the_minimum_and_the_tiles(self, n_tiles, k):
        assert top_count(n_tiles, ZeroShotSettings(top_share=0.02, top_min=3)) == k


COSINES = st.floats(-1, 1, width=32)


@st.composite
def cases(draw):
    n = draw(st.integers(1, 12))
    similarities = draw(arrays(np.float32, (draw(st.integers(1, 3)), n), elements=COSINES))
    other = draw(arrays(np.float32, (draw(st.integers(0, 2)), n), elements=COSINES))
    chosen = ZeroShotSettings(
        pooling=draw(st.sampled_from(["topk", "mean", "attention"])),
        top_share=draw(st.floats(0.01, 1)),
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


def test_a_tile_of_other_tissue_never_gains_weight_by_resembling_it_more():
    similarities = np.array([[0.2, 0.3, 0.1, 0.25]])
    for pooling in ("topk", "mean", "attention"):
        before = weights(similarities, [[0.2, 0.1, 0.1, 0.2]], pooling=pooling, temperature=0.05, top_min=2)
        after = weights(similarities, [[0.2, 0.4, 0.1, 0.2]], pooling=pooling, temperature=0.05, top_min=2)
        assert after[0, 1] < before[0, 1]
