import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.model.training.fit_answers import MIN_ANSWERS, _targets
from tests.model.five_slides import (
    GROWTH,
    MUCIN,
    answers_of,
    fit_to_answers,
    logits,
    make_five,
    true_answers,
    tumor_slides,
)

FITTED = ("mixture", "axes", "maps", "spread")


@pytest.fixture
def make(tiny_bert):
    return lambda **more: make_five(tiny_bert, **more)


def assert_equal(model, other, *, names=FITTED, questions=slice(None), exactly=True):
    for name in names:
        found, expected = getattr(model, name), getattr(other, name)
        if name != "spread":
            found, expected = found[questions], expected[questions]
        torch.testing.assert_close(found, expected, rtol=0 if exactly else 1e-3, atol=0 if exactly else 1e-4, msg=name)


def predicted_answers(model, slides):
    """Return the predicted answers as text vectors, (n, Q, W)."""
    pooled = torch.stack([model.pooled(slides.evaluation(file, 10_000)) for file in slides.files])
    return torch.einsum("bqr,qrw->bqw", model.answers(model.standardized(pooled)), model.axes)


def test_each_question_is_answered_from_the_tiles_of_new_slides(make):
    model, (slides, growth, mucin) = make(), tumor_slides(40)
    metrics = fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    assert metrics["train_explained_growth"] > 0.8
    assert metrics["train_explained_mucin"] > 0.8
    explained = (metrics["train_explained_growth"] + metrics["train_explained_mucin"]) / 2
    assert metrics["train_loss"] == pytest.approx(1 - explained)
    new, growth, mucin = tumor_slides(20, seed=1)
    found = predicted_answers(model, new)
    for number, (texts, truth) in enumerate(((GROWTH, growth), (MUCIN, mucin))):
        between = model.encode_texts(texts[1:]) - model.encode_texts(texts[:1])
        assert ((found[:, number] @ between.T)[:, 0] > 0).tolist() == (truth == 1).tolist()


def test_each_question_looks_where_its_finding_is(make):
    """Growth is seen in tumor tiles only, and mucin in the others only."""
    model, (slides, growth, mucin) = make(), tumor_slides(40)
    fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    new, _, _ = tumor_slides(5, seed=1)
    for file in new.files:
        _, attention = model.attend(new.evaluation(file, 10_000), model.encode_prompts())
        torch.testing.assert_close(attention.sum(dim=1), torch.ones(2))
        assert float(attention[0, :8].sum()) > 0.9  # tumor tiles are a third
        assert float(attention[1, 8:].sum()) > 0.75  # the others are two thirds


def test_slides_whose_answer_is_unknown_do_not_affect_its_question(make):
    slides, growth, mucin = tumor_slides(40)
    answers = true_answers(slides, growth, mucin)
    unknown = {name: (None, answers[name][1]) for name in list(answers)[:10]}
    some, fewer = make(), make()
    fit_to_answers(some, slides, answers | unknown)
    assert float(some.mixture[0].sum()) == pytest.approx(1)
    other = {name: tiles for name, tiles in slides.tiles.items() if name not in unknown}
    # the regression sees only the 30 slides; gates and scale come from all slides, so they are set to the same values
    fewer.load_state_dict(some.state_dict())
    fewer.mixture.zero_()
    fewer.maps.zero_()
    fewer.axes.zero_()
    fit_to_answers(fewer, type(slides)(other), {name: answers[name] for name in other})
    assert_equal(fewer, some, names=("mixture", "maps"), questions=0, exactly=False)


def test_questions_are_fitted_independently(make):
    slides, growth, mucin = tumor_slides(40)
    truth, shuffled = make(), make()
    fit_to_answers(truth, slides, true_answers(slides, growth, mucin))
    other = np.random.default_rng(0).permutation(mucin)
    fit_to_answers(shuffled, slides, true_answers(slides, growth, other))
    assert_equal(shuffled, truth, names=("mixture", "axes", "maps"), questions=0)
    assert not torch.equal(shuffled.maps[1], truth.maps[1])


def test_the_order_of_slides_does_not_matter(make):
    slides, growth, mucin = tumor_slides(40)
    answers, order = true_answers(slides, growth, mucin), np.random.default_rng(0).permutation(40).tolist()
    first, second = make(), make()
    fit_to_answers(first, slides, answers)
    fit_to_answers(second, slides, answers, order=order)
    torch.testing.assert_close(logits(second, slides), logits(first, slides), atol=1e-4, rtol=1e-3)


def test_the_order_of_questions_does_not_matter(make):
    slides, growth, mucin = tumor_slides(40)
    answers = true_answers(slides, growth, mucin)
    first, second = make(), make(questions={"mucin": "mucin is present", "growth": "growth of cells"})
    fit_to_answers(first, slides, answers)
    fit_to_answers(second, slides, {name: each[::-1] for name, each in answers.items()})
    assert_equal_questions = [(0, 1), (1, 0)]
    for number, other in assert_equal_questions:
        torch.testing.assert_close(second.mixture[other], first.mixture[number])
        torch.testing.assert_close(second.maps[other], first.maps[number])
    torch.testing.assert_close(logits(second, slides), logits(first, slides))


def test_the_order_of_tiles_does_not_matter(make):
    slides, growth, mucin = tumor_slides(40)
    answers, rng = true_answers(slides, growth, mucin), np.random.default_rng(0)
    shuffled = type(slides)({name: tiles[rng.permutation(len(tiles))] for name, tiles in slides.tiles.items()})
    first, second = make(), make()
    fit_to_answers(first, slides, answers)
    fit_to_answers(second, shuffled, answers)
    torch.testing.assert_close(logits(second, shuffled), logits(first, slides), atol=1e-4, rtol=1e-3)


def test_two_fits_are_identical(make):
    slides, growth, mucin = tumor_slides(30)
    models = [make(), make()]
    for model in models:
        fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    assert_equal(*models)


def test_the_target_of_an_answer_is_the_mean_of_its_wordings_less_the_mean_over_the_slides(make):
    model = make()
    first, second, alone = "round cells", "rings in rings of cells", "spindle cells in bundles"
    texts = [first, first, alone, first]
    found = _targets(model, texts, {first: [first, second]})
    with torch.no_grad():
        vectors = functional.normalize(model.text.pooled([first, second, alone]), dim=1).double()
    answer, other = (vectors[0] + vectors[1]) / 2, vectors[2]
    mean = (3 * answer + other) / 4
    torch.testing.assert_close(found, torch.stack([answer - mean] * 2 + [other - mean, answer - mean]))


def test_wordings_that_a_report_uses_change_nothing_but_those_of_the_question_file_do(make):
    slides, growth, mucin = tumor_slides(40)
    answers = true_answers(slides, growth, mucin)
    one, several = make(), make()
    fit_to_answers(one, slides, answers)
    fit_to_answers(several, slides, answers, wordings={GROWTH[0]: [GROWTH[0], "rings in bundles"]})
    assert not torch.equal(one.axes[0], several.axes[0])
    assert_equal(one, several, names=("mixture", "axes", "maps"), questions=1)


@pytest.mark.parametrize("kind", ["none known", "one answer", "too few known"])
def test_a_question_that_cannot_be_fitted_attends_evenly_and_adds_nothing(make, kind):
    slides, growth, mucin = tumor_slides(40)
    few = [MUCIN[value] if row < MIN_ANSWERS - 1 else None for row, value in enumerate(mucin)]
    texts = {"none known": [None] * 40, "one answer": [MUCIN[0]] * 40, "too few known": few}[kind]
    model = make()
    metrics = fit_to_answers(model, slides, answers_of(slides, [GROWTH[value] for value in growth], texts))
    assert metrics["train_explained_mucin"] == 0
    assert not model.maps[1].any()
    assert not model.mixture[1].any()
    _, attention = model.attend(slides.evaluation(slides.files[0], 100), model.encode_prompts())
    torch.testing.assert_close(attention[1], torch.full((24,), 1 / 24))
    alone = make(questions={"growth": "growth of cells"})
    fit_to_answers(alone, slides, answers_of(slides, [GROWTH[value] for value in growth]))
    torch.testing.assert_close(logits(model, slides), logits(alone, slides))


def test_answers_that_the_slides_do_not_show_are_hardly_explained(make):
    slides, growth, _ = tumor_slides(200)
    chance = np.random.default_rng(1).integers(0, 2, 200)
    metrics = fit_to_answers(make(), slides, true_answers(slides, growth, chance))
    assert metrics["train_explained_mucin"] < 0.05


def test_equal_wordings_for_different_answers_are_not_fitted(make):
    slides, growth, mucin = tumor_slides(40)
    unread = ("xxx", "yyy")  # the tiny text model knows neither word
    answers = answers_of(slides, [GROWTH[value] for value in growth], [unread[value] for value in mucin])
    model = make()
    assert fit_to_answers(model, slides, answers)["train_explained_mucin"] == 0
    assert bool(logits(model, slides).isfinite().all())
