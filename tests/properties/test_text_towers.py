"""For any texts: a text that fits has a vector of its own with norm 1, and a longer one is refused with its length."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import SettingsError
from pipelines.encoders.text_tower import TextTower

CONTEXT = 6
WORDS = st.sampled_from(["tumor", "of", "lung", "G2"])
TEXTS = st.lists(st.lists(WORDS, max_size=CONTEXT + 2).map(" ".join), max_size=70)


class WordCounts:
    """A text model with one channel per word; a text has as many tokens as words, and two special ones."""

    context_length, logit_scale = CONTEXT, 10.0

    def n_tokens(self, texts):
        return [len(text.split()) + 2 for text in texts]

    def encode(self, texts):
        assert len(texts) <= 32
        assert max(self.n_tokens(texts)) <= CONTEXT
        return torch.tensor(
            [[1.0, *(text.split().count(word) for word in ("tumor", "of", "lung", "G2"))] for text in texts]
        )


@given(TEXTS)
def test_texts_that_fit_have_vectors_and_longer_ones_are_refused(texts):
    tower = TextTower(WordCounts(), "words", space="words 0")
    lengths = tower.n_tokens(texts)
    too_long = [length for length in lengths if length > CONTEXT]
    if too_long:
        with pytest.raises(SettingsError, match=f"has {too_long[0]} tokens, but {CONTEXT} fit"):
            tower(texts)
        return
    vectors = tower(texts)
    assert vectors.shape == (len(texts), 5)
    assert vectors.dtype == np.float32
    counts = np.array([[text.split().count(word) for word in ("tumor", "of", "lung", "G2")] for text in texts])
    if texts:
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-6)
        assert vectors[:, 1:] / vectors[:, :1] == pytest.approx(counts, abs=1e-4)  # rows are in the order of the texts
