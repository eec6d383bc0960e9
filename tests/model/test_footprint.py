from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipelines.core.settings import TrainSettings
from pipelines.model import footprint as module
from pipelines.model.bags import BagFile, tiles_drawn
from pipelines.model.footprint import footprint
from pipelines.model.training_run import prepare_run
from tests.synthetic_features import write_cohort
from tests.training_runs import pretrain_inputs, small_settings

TEXTS = 1000


class _Scale(nn.Module):
    """A model of one weight, by which every tile is multiplied."""

    twice = False

    def __init__(self):
        super().__init__()
        self.weight, self.rest = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(7), requires_grad=False)
        self.spec = SimpleNamespace(feature_dim=3)

    def checkpoint_activations(self):
        self.twice = True

    def freeze_text(self):
        self.weight.requires_grad_(requires_grad=False)


class _Reader:
    cache_bytes = 1 << 20

    def training(self, slide, ratio, most, rng):
        return SimpleNamespace(features=torch.ones(tiles_drawn(slide.n_tiles, ratio, most), dtype=torch.float16))


def scaled(weight, n):
    """Take 8 bytes a tile at a time: ones, and forward their product with the weight, backward with the gradient."""
    return (weight * torch.ones(n)).sum()


def loss(model, bags, rng):
    sizes = [len(bag.features) for bag in bags]
    texts = scaled(model.weight, TEXTS)  # of which the ones are kept for the backward pass
    if model.twice:
        return texts + sum(checkpoint(scaled, model.weight, n, use_reentrant=False) for n in sizes)
    return texts + scaled(model.weight, sum(sizes))


@pytest.mark.parametrize("most", [20000, 2400], ids=["computed whole", "along the line"])
@pytest.mark.parametrize(("checkpointed", "tiles"), [(False, 5000 + 2500), (True, 5000)])
def test_memory_is_that_of_the_largest_batch(monkeypatch, checkpointed, tiles, most):
    monkeypatch.setattr(module, "MOST_TILES", most)
    slides = [BagFile("a", None, 1000), BagFile("b", None, 10000), BagFile("c", None, 5000)]
    data = SimpleNamespace(train=slides, val=[], reader=_Reader())
    settings = TrainSettings(batch_size=2, tile_ratio=0.5, max_tiles=9999, checkpoint_activations=checkpointed)
    found = footprint(_Scale(), SimpleNamespace(loss=loss), data, settings.with_text_rate(is_tuned=False))
    assert (found.trainable, found.frozen) == (1, 7)
    assert found.state_mb * 1e6 == pytest.approx(4 * (4 * 1 + 7))
    assert found.step_mb * 1e6 == pytest.approx(8 * tiles + 4 * TEXTS, abs=100)
    assert found.features_mb * 1e6 == pytest.approx(16000 * 3 * 2)


def test_a_text_side_at_rest_does_not_count_as_trainable():
    data = SimpleNamespace(train=[BagFile("a", None, 100)], val=[], reader=_Reader())
    settings = replace(TrainSettings(), lr_text=0.0)

    def of_tiles(model, bags, rng):
        return torch.ones(len(bags[0].features)).requires_grad_().sum()

    assert footprint(_Scale(), SimpleNamespace(loss=of_tiles), data, settings).trainable == 0


@pytest.mark.slow
def test_the_line_through_few_tiles_of_five_meets_the_batch_computed_whole(monkeypatch, tiny_bert, tmp_path):
    cohort = write_cohort(tmp_path, n_patients=12)
    settings = small_settings(tiny_bert, tile_ratio=1.0, width=256)
    run = prepare_run(pretrain_inputs(cohort), settings)
    whole = footprint(run.make_model(), run.task.objective, run.data, run.settings).step_mb
    monkeypatch.setattr(module, "MOST_TILES", 160)
    followed = footprint(run.make_model(), run.task.objective, run.data, run.settings).step_mb
    assert followed == pytest.approx(whole, rel=0.15)
