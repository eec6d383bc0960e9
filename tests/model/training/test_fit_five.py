"""Cohorts of unusual shape: `fit_five` gives finite numbers for all of them."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch

from tests.model.five_slides import (
    CHANNELS,
    GROWTH,
    MUCIN,
    NAMES,
    QUESTIONS,
    TEXTS,
    Slides,
    answers_of,
    bag,
    fit_to_answers,
    fit_to_labels,
    logits,
    make_five,
    true_answers,
    tumor_slides,
)

WORDS = [
    "round",
    "cells",
    "in",
    "rings",
    "spindle",
    "bundles",
    "margins",
    "are",
    "clear",
    "mucin",
    "is",
    "present",
    "absent",
]


def random_slides(number, *, n_tiles=12, channels=CHANNELS):
    return Slides(
        {
            f"s{row:03d}": torch.randn(n_tiles, channels, generator=torch.Generator().manual_seed(row))
            for row in range(number)
        }
    )


def constant_channels(number):
    slides = random_slides(number)
    for tiles in slides.tiles.values():
        tiles[:, 2:] = 3.0
    return slides


def equal_slides(number):
    tiles = random_slides(1).tiles["s000"]
    return Slides({f"s{row:03d}": tiles for row in range(number)})


COHORTS = {
    "two slides": random_slides(2),
    "one tile per slide": random_slides(30, n_tiles=1),
    "two tiles per slide": random_slides(30, n_tiles=2),
    "constant channels": constant_channels(30),
    "all slides are equal": equal_slides(30),
    "all features are zero": Slides({f"s{row:03d}": torch.zeros(5, CHANNELS) for row in range(30)}),
    "more channels than slides": random_slides(10, channels=200),
    "more slides than channels": random_slides(60, channels=2),
    "one channel": random_slides(30, channels=1),
    "large features": Slides({name: 1e4 * tiles + 1e5 for name, tiles in random_slides(30).tiles.items()}),
    "small features": Slides({name: 1e-4 * tiles for name, tiles in random_slides(30).tiles.items()}),
    "slides of different sizes": Slides({f"s{row:03d}": torch.randn(1 + 7 * row, CHANNELS) for row in range(30)}),
}


def channels_of(slides):
    return next(iter(slides.tiles.values())).shape[1]


def assert_usable(model, slides, metrics):
    """Check that all weights and metrics are finite, and what the model says about its own and about other slides."""
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    other = {f"t{n}": torch.randn(n, channels_of(slides), generator=torch.Generator().manual_seed(n)) for n in (1, 9)}
    for each in (slides, Slides(other)):
        assert bool(logits(model, each).isfinite().all())
        tiles = list(each.tiles.values())[-1]
        vector, attention = model.attend(bag(tiles), model.encode_prompts())
        assert bool(vector.isfinite().all())
        torch.testing.assert_close(attention.sum(dim=1), torch.ones(len(attention)))
        assert bool((attention >= 0).all())
        classes = model.encode_classes(TEXTS)
        bias = model.biases if model.spec.labels else torch.zeros(2)
        added = model.contributions(bag(tiles), classes).sum(dim=1) + bias
        torch.testing.assert_close(added, (vector @ classes.T)[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("questions", [QUESTIONS, {}], ids=["questions", "no questions"])
@pytest.mark.parametrize("cohort", COHORTS)
def test_a_cohort_of_any_shape_can_be_fitted_to_descriptions_and_then_to_labels(tiny_bert, cohort, questions):
    slides = COHORTS[cohort]
    model = make_five(tiny_bert, channels=channels_of(slides), questions=questions)
    choices = np.arange(len(slides.tiles)) % 2
    if questions:
        assert_usable(model, slides, fit_to_answers(model, slides, true_answers(slides, choices, choices)))
    tuned = make_five(tiny_bert, labels=NAMES, channels=channels_of(slides), questions=questions)
    tuned.start_from(model)
    assert_usable(tuned, slides, fit_to_labels(tuned, slides, [NAMES[value] for value in choices]))


def test_one_slide_can_be_fitted_to_its_description(tiny_bert):
    slides = random_slides(1)
    model = make_five(tiny_bert)
    assert_usable(model, slides, fit_to_answers(model, slides, true_answers(slides, [0], [1])))


def phrases(number):
    rng = np.random.default_rng(0)
    return list(dict.fromkeys(" ".join(rng.choice(WORDS, 6)) for _ in range(2 * number)))[:number]


ANSWERS = {
    "one answer": lambda n: [GROWTH[0]] * n,
    "one slide has another answer": lambda n: [GROWTH[1]] + [GROWTH[0]] * (n - 1),
    "one slide per answer": phrases,
    "one known answer": lambda n: [GROWTH[0]] + [None] * (n - 1),
    "words that the text model does not know": lambda n: [f"word{row}" for row in range(n)],
}


@pytest.mark.parametrize("number", [9, 300])
@pytest.mark.parametrize("kind", ANSWERS)
def test_answers_of_any_distribution_can_be_fitted(tiny_bert, kind, number):
    slides = random_slides(number)
    model = make_five(tiny_bert)
    answers = answers_of(slides, ANSWERS[kind](number), [MUCIN[row % 2] for row in range(number)])
    assert_usable(model, slides, fit_to_answers(model, slides, answers))


@pytest.mark.parametrize("counts", [(1, 1), (1, 30), (29, 2)])
def test_labels_of_any_distribution_can_be_fitted(tiny_bert, counts):
    slides = random_slides(sum(counts))
    model = make_five(tiny_bert, labels=NAMES)
    assert_usable(model, slides, fit_to_labels(model, slides, [NAMES[0]] * counts[0] + [NAMES[1]] * counts[1]))


def test_a_class_without_slides_keeps_its_text(tiny_bert):
    slides, growth, mucin = tumor_slides(20)
    model = make_five(tiny_bert, labels=NAMES)
    fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    fit_to_labels(model, slides, ["round"] * 20)
    assert bool(logits(model, slides).isfinite().all())


def test_a_model_that_was_fitted_before_keeps_its_gates_and_its_scale(tiny_bert):
    first, second = make_five(tiny_bert), make_five(tiny_bert, labels=NAMES)
    slides, growth, mucin = tumor_slides(20)
    fit_to_answers(first, slides, true_answers(slides, growth, mucin))
    second.start_from(first)
    fit_to_labels(second, random_slides(4), [NAMES[row % 2] for row in range(4)])
    for name in ("gates.directions", "centre", "size"):
        assert torch.equal(first.state_dict()[name], second.state_dict()[name])


def test_centre_and_size_are_those_of_the_pooled_training_slides(tiny_bert):
    model, (slides, growth, mucin) = make_five(tiny_bert), tumor_slides(20)
    fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    by_gate = defaultdict(list)
    for tiles in slides.tiles.values():
        for gate, attention in enumerate(model.gates(tiles)):
            by_gate[gate].append((attention[:, None] * tiles).sum(dim=0).numpy())
    for gate, pooled in by_gate.items():
        centre = np.mean(pooled, axis=0)
        np.testing.assert_allclose(model.centre[gate], centre, atol=1e-5)
        length = np.sqrt(np.mean([np.square(each - centre).sum() for each in pooled]))
        assert float(model.size[gate]) == pytest.approx(length, rel=1e-4)


def test_no_more_tiles_than_allowed_are_read(tiny_bert):
    model, (slides, growth, mucin) = make_five(tiny_bert), tumor_slides(20)
    seen = []

    class Watched(Slides):
        def evaluation(self, file, max_tiles):
            seen.append(max_tiles)
            return super().evaluation(file, max_tiles)

    watched = Watched(slides.tiles)
    fit_to_answers(model, watched, true_answers(watched, growth, mucin))
    assert set(seen) == {256, 10_000}
