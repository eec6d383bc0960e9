import numpy as np
import pytest
import torch

from pipelines.model.networks.zero_shot.similarities import ROWS, cosine_similarities


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n_tiles", [0, 1, ROWS, 2 * ROWS + 3])
def test_similarities_are_cosines_whatever_the_length_of_the_features(dtype, n_tiles):
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(n_tiles, 24)) * rng.uniform(0.01, 30, size=(n_tiles, 1))).astype(dtype)
    texts = rng.normal(size=(5, 24))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    exact = features.astype(float)
    expected = texts @ (exact / np.linalg.norm(exact, axis=1, keepdims=True)).T
    found = cosine_similarities(torch.from_numpy(features), torch.from_numpy(texts).float())
    assert found.shape == (5, n_tiles)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def test_a_tile_without_any_feature_resembles_no_text():
    found = cosine_similarities(torch.zeros(2, 3, dtype=torch.float16), torch.eye(3))
    assert found.tolist() == [[0, 0]] * 3
