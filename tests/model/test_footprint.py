from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pipelines.core.settings import TrainSettings
from pipelines.model.bags import BagFile
from pipelines.model.footprint import footprint


class _Square(nn.Module):
    """A model that keeps one number a tile (none when it computes twice) and 5 numbers a batch."""

    twice = False

    def __init__(self):
        super().__init__()
        self.weight, self.rest = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(7), requires_grad=False)
        self.spec = SimpleNamespace(feature_dim=3)

    def checkpoint_activations(self):
        self.twice = True

    def freeze_text(self):
        self.weight.requires_grad_(requires_grad=False)


class _Reader:
    cache_bytes = 1 << 20

    def training(self, slide, ratio, most, rng):
        return SimpleNamespace(features=torch.ones(min(slide.n_tiles, most)))


def loss(model, bags, rng):
    tiles = torch.cat([bag.features for bag in bags])
    of_tiles = tiles.clone().requires_grad_()
    return (of_tiles if model.twice else of_tiles.exp()).sum() + model.weight.exp().sum()


@pytest.mark.parametrize(("checkpointed", "tiles"), [(False, 500 + 250), (True, 500)])
def test_the_line_through_two_small_batches_gives_the_memory_of_the_largest(checkpointed, tiles):
    slides = [BagFile("a", None, 100), BagFile("b", None, 1000), BagFile("c", None, 500)]
    data = SimpleNamespace(train=slides, val=[], reader=_Reader())
    settings = TrainSettings(batch_size=2, tile_ratio=0.5, checkpoint_activations=checkpointed).with_text_rate(
        is_tuned=False
    )
    found = footprint(_Square(), SimpleNamespace(loss=loss), data, settings)
    assert (found.trainable, found.frozen) == (5, 7)
    assert found.state_mb * 1e6 == pytest.approx(4 * (5 * 5 + 7))
    assert found.step_mb * 1e6 == pytest.approx(4 * (tiles + 5))
    assert found.features_mb * 1e6 == pytest.approx(1600 * 3 * 4)


def test_a_text_side_at_rest_does_not_count_as_trainable():
    data = SimpleNamespace(train=[BagFile("a", None, 100)], val=[], reader=_Reader())
    settings = replace(TrainSettings(), lr_text=0.0)
    assert footprint(_Square(), SimpleNamespace(loss=loss), data, settings).trainable == 0
