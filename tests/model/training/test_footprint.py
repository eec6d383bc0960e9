from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.checkpoint import checkpoint

from pipelines.core.settings import TrainSettings
from pipelines.model.data.bags import BagFile, tiles_drawn
from pipelines.model.training.fitters import fitter_of
from pipelines.model.training.footprint import footprint
from pipelines.model.training.run import prepare_run
from tests.synthetic_features import DIM, write_bag, write_cohort
from tests.training_runs import pretrain_inputs, small_settings


class _Scale(nn.Module):
    """A model with one weight, by which each tile and each word is multiplied."""

    recomputes = False

    def __init__(self):
        super().__init__()
        self.weight, self.rest = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(7), requires_grad=False)
        self.spec = SimpleNamespace(feature_dim=3)

    def checkpoint_activations(self):
        self.recomputes = True

    def freeze_text(self):
        self.weight.requires_grad_(requires_grad=False)

    def encode_prompts(self):
        return torch.ones(1)

    def encode_bags(self, bags, prompts):
        sizes = [len(bag.features) for bag in bags]
        if self.recomputes:
            return sum(checkpoint(scaled, self.weight, n, use_reentrant=False) for n in sizes)
        return scaled(self.weight, sum(sizes))


class _Reader:
    cache_bytes = 1 << 30

    def training(self, slide, ratio, max_tiles, rng):
        return SimpleNamespace(features=torch.ones(tiles_drawn(slide.n_tiles, ratio, max_tiles), dtype=torch.float16))


def scaled(weight, n):
    """Use at most 8 bytes per number: 4 for the ones, and 4 for the product (forward) or the gradient (backward)."""
    return (weight * torch.ones(n)).sum()


def objective(words):
    """Return an objective that keeps 4 bytes per word for the backward pass."""
    return SimpleNamespace(loss=lambda model, bags, _: scaled(model.weight, words) + model.encode_bags(bags, None))


@pytest.mark.parametrize("words", [1000, 100_000])
@pytest.mark.parametrize(("checkpointed", "tiles"), [(False, 50_000 + 25_000), (True, 50_000)])
def test_memory_is_that_of_the_largest_batch_plus_what_is_kept_of_its_texts(checkpointed, tiles, words):
    slides = [BagFile("a", None, 10_000), BagFile("b", None, 100_000), BagFile("c", None, 50_000)]
    data = SimpleNamespace(train=slides, val=[], reader=_Reader())
    settings = TrainSettings(batch_size=2, tile_ratio=0.5, max_tiles=99_999, checkpoint_activations=checkpointed)
    size = footprint(_Scale(), objective(words), data, settings.with_text_rate(is_tuned=False))
    assert (size.trainable, size.frozen) == (1, 7)
    assert size.state_mb * 1e6 == pytest.approx(4 * (4 * 1 + 7))
    assert size.step_mb * 1e6 == pytest.approx(8 * tiles + 4 * words, abs=500)
    assert size.features_mb * 1e6 == pytest.approx(160_000 * 3 * 2)


def test_with_few_tiles_memory_is_that_of_the_texts():
    data = SimpleNamespace(train=[BagFile("a", None, 10)], val=[], reader=_Reader())
    size = footprint(_Scale(), objective(100_000), data, TrainSettings().with_text_rate(is_tuned=False))
    assert size.step_mb * 1e6 == pytest.approx(8 * 100_000, abs=500)


def test_a_frozen_text_side_is_not_counted_as_trainable():
    class Free(_Scale):
        def encode_bags(self, bags, prompts):
            return torch.ones(len(bags[0].features)).requires_grad_().sum()

    data = SimpleNamespace(train=[BagFile("a", None, 100)], val=[], reader=_Reader())
    assert footprint(Free(), objective(1), data, replace(TrainSettings(), lr_text=0.0)).trainable == 0


@pytest.mark.slow
@pytest.mark.parametrize("checkpointed", [False, True])
def test_the_memory_of_a_step_matches_the_torch_profiler(tiny_bert, tmp_path, checkpointed):
    cohort = write_cohort(tmp_path, n_patients=12)
    for number in range(12):
        write_bag(cohort.features, f"s{number:02d}", np.random.default_rng(number).normal(size=(1200, DIM)))
    settings = small_settings(tiny_bert, tile_ratio=1.0, max_tiles=2000, checkpoint_activations=checkpointed)
    run = prepare_run(pretrain_inputs(cohort), settings)
    model = run.make_model()
    model = fitter_of(model).trained_by_gradient(model)
    estimated = footprint(model, run.task.objective, run.data, run.settings).step_mb
    bags = [run.data.reader.evaluation(slide, 2000) for slide in run.data.train[: settings.batch_size]]
    model.zero_grad(set_to_none=True)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run.task.objective.loss(model, bags, np.random.default_rng(0)).backward()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    alive = np.cumsum([event.nbytes() for event in events])
    assert estimated == pytest.approx(alive.max() / 1e6, rel=0.1)
