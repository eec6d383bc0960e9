import math
from types import SimpleNamespace

import pytest
import torch

from pipelines.model.data.batches import Data
from pipelines.model.training.network_weight import GAIN, is_worth_hearing, likelihood_gain


def test_the_gain_is_that_of_the_factor_that_suits_best():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    expected = 2 * (2 - math.log(math.exp(2) + 1)) + 2 * math.log(2)
    assert likelihood_gain(logits, ["a", "b"]) == pytest.approx(expected)


def test_logits_that_say_nothing_or_the_wrong_thing_gain_nothing():
    assert likelihood_gain(torch.zeros(3, 3), ["a", "b", "c"]) == 0
    assert likelihood_gain(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), ["a", "b"]) == 0


def test_a_liking_for_some_texts_whatever_the_slide_gains_nothing():
    liking = torch.tensor([5.0, 0.0, 1.0])[:, None].expand(3, 3)
    assert likelihood_gain(liking, ["a", "b", "c"]) == pytest.approx(0)


def test_slides_of_equal_texts_are_equally_right():
    logits = torch.tensor([[3.0, 3.0, 0.0], [3.0, 3.0, 0.0], [0.0, 0.0, 3.0]])
    even = math.log(3)
    first = 3 - math.log(2 * math.exp(3) + 1) + even
    assert likelihood_gain(logits, ["a", "a", "b"]) == pytest.approx(
        2 * first + 3 - math.log(math.exp(3) + 2) + even, rel=1e-6
    )


def test_networks_without_knowledge_are_seldom_heard():
    generator = torch.Generator().manual_seed(0)
    texts = [str(number) for number in range(15)]
    heard = [likelihood_gain(torch.randn(15, 15, generator=generator), texts) > GAIN for _ in range(300)]
    assert sum(heard) <= 9


class Network:
    """Slides and texts are unit vectors; a network without knowledge gives every slide the same."""

    vector_width, device = 8, torch.device("cpu")

    def __init__(self, *, knows):
        self.knows = knows

    def eval(self):
        return self

    def encode_prompts(self):
        return None

    def encode_bags(self, bags, _):
        return 5 * torch.eye(8)[[int(bag) if self.knows else 0 for bag in bags]]

    def encode_texts(self, texts):
        return torch.eye(8)[[int(text) for text in texts]]

    def logits(self, bags, texts):
        return bags @ texts.T


@pytest.mark.parametrize("knows", [True, False])
def test_a_network_is_heard_if_it_finds_the_slides_of_descriptions(knows):
    slides = [SimpleNamespace(slide_id=str(number)) for number in range(8)]
    reader = SimpleNamespace(evaluation=lambda slide, _: slide.slide_id)
    answers = {slide.slide_id: (slide.slide_id,) for slide in slides}
    data = Data([], slides, reader)
    assert is_worth_hearing(Network(knows=knows), answers, data, most_tiles=5) is knows


def test_without_validation_slides_a_network_is_taken_on_trust():
    assert is_worth_hearing(Network(knows=False), {}, Data([], [], None), most_tiles=5)
