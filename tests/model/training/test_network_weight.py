import math
from types import SimpleNamespace

import pytest
import torch

from pipelines.model.data.batches import Data
from pipelines.model.training.network_weight import (
    MIN_LIKELIHOOD_GAIN,
    likelihood_gain,
    matches_slides_to_descriptions,
)


def test_the_gain_uses_the_best_factor():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    expected = 2 * (2 - math.log(math.exp(2) + 1)) + 2 * math.log(2)
    assert likelihood_gain(logits, ["a", "b"]) == pytest.approx(expected)


def test_constant_or_wrong_logits_gain_nothing():
    assert likelihood_gain(torch.zeros(3, 3), ["a", "b", "c"]) == 0
    assert likelihood_gain(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), ["a", "b"]) == 0


def test_a_preference_for_some_texts_that_ignores_the_slide_gains_nothing():
    preference = torch.tensor([5.0, 0.0, 1.0])[:, None].expand(3, 3)
    assert likelihood_gain(preference, ["a", "b", "c"]) == pytest.approx(0)


def test_slides_with_equal_texts_are_equally_right():
    logits = torch.tensor([[3.0, 3.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    uniform = math.log(3)
    shared = 3 - math.log(2 * math.exp(3) + 1) + uniform
    assert likelihood_gain(logits, ["a", "a", "b"]) == pytest.approx(
        2 * shared + 3 - math.log(math.exp(3) + 2) + uniform, rel=1e-6
    )


def test_random_networks_rarely_pass():
    generator = torch.Generator().manual_seed(0)
    texts = [str(number) for number in range(15)]
    passed = [
        likelihood_gain(torch.randn(15, 15, generator=generator), texts) > MIN_LIKELIHOOD_GAIN for _ in range(300)
    ]
    assert sum(passed) <= 9


class Network:
    """Encodes slides and texts as unit vectors; an untrained network gives each slide the same vector."""

    vector_width, device = 8, torch.device("cpu")

    def __init__(self, *, is_trained):
        self.is_trained = is_trained

    def eval(self):
        return self

    def encode_prompts(self):
        return None

    def encode_bags(self, bags, _):
        return 5 * torch.eye(8)[[int(bag) if self.is_trained else 0 for bag in bags]]

    def encode_texts(self, texts):
        return torch.eye(8)[[int(text) for text in texts]]

    def logits(self, bags, texts):
        return bags @ texts.T


@pytest.mark.parametrize("is_trained", [True, False])
def test_a_network_passes_if_it_finds_the_slides_of_descriptions(is_trained):
    slides = [SimpleNamespace(slide_id=str(number)) for number in range(8)]
    reader = SimpleNamespace(evaluation=lambda slide, _: slide.slide_id)
    answers = {slide.slide_id: (slide.slide_id,) for slide in slides}
    data = Data([], slides, reader)
    assert matches_slides_to_descriptions(Network(is_trained=is_trained), answers, data, max_tiles=5) is is_trained


def test_without_validation_slides_a_network_passes():
    assert matches_slides_to_descriptions(Network(is_trained=False), {}, Data([], [], None), max_tiles=5)
