import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.model.training import fit_labels
from pipelines.model.training.fit_labels import BIAS_PENALTY, CLASS_PENALTY
from tests.model.five_slides import (
    NAMES,
    TEXTS,
    Slides,
    fit_to_answers,
    fit_to_labels,
    logits,
    make_five,
    true_answers,
    tumor_slides,
)


@pytest.fixture
def pretrained(tiny_bert):
    """Return a model that was fitted to 40 descriptions."""
    model, (slides, growth, mucin) = make_five(tiny_bert), tumor_slides(40)
    fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    return model


def labels_of(growth):
    return [NAMES[value] for value in growth]


def tuned(tiny_bert, pretrained, slides, labels, **more):
    model = make_five(tiny_bert, labels=NAMES)
    model.start_from(pretrained)
    fit_to_labels(model, slides, labels, **more)
    return model


def accuracy(model, seed=7):
    slides, growth, _ = tumor_slides(40, seed=seed)
    return float((logits(model, slides).argmax(dim=1).numpy() == growth).mean())


def test_class_texts_alone_predict_the_classes(pretrained):
    assert accuracy(pretrained) > 0.9


def standardized(model, slides):
    with torch.no_grad():
        return model.standardized(torch.stack([model.pooled(slides.evaluation(file, 100)) for file in slides.files]))


@pytest.mark.parametrize("weights", [{}, {"round": 3.0, "spindle": 0.5}])
@pytest.mark.parametrize("number", [4, 30, 60], ids=["few", "as many as channels", "many"])
def test_weights_and_biases_minimize_the_penalized_loss(tiny_bert, pretrained, number, weights):
    slides, growth, _ = tumor_slides(number, seed=3)
    model = tuned(tiny_bert, pretrained, slides, labels_of(growth), weights=weights)
    x = standardized(model, slides)
    offset = (model.answers(x).flatten(1) @ model.class_texts(TEXTS).T).double()
    x = (x * model.class_mixture.sqrt()[:, None]).flatten(1).double()
    learned, biases = model.weights.flatten(1).double().requires_grad_(), model.biases.double().requires_grad_()
    losses = functional.cross_entropy(offset + x @ learned.T + biases, torch.tensor(growth), reduction="none")
    loss = (losses * torch.tensor([weights.get(NAMES[value], 1.0) for value in growth])).sum()
    loss = loss + CLASS_PENALTY / 2 * learned.square().sum() + BIAS_PENALTY / 2 * biases.square().sum()
    loss.backward()
    assert float(learned.grad.abs().max()) < 1e-3
    assert float(biases.grad.abs().max()) < 1e-3


def test_equal_slides_with_different_labels_leave_the_class_texts_in_charge(tiny_bert, pretrained):
    slides, _, _ = tumor_slides(1)
    tiles = slides.tiles["s000"]
    model = tuned(tiny_bert, pretrained, Slides({"a": tiles, "b": tiles}), ["round", "spindle"])
    new, _, _ = tumor_slides(10, seed=5)
    with_texts, with_labels = logits(pretrained, new), logits(model, new)
    torch.testing.assert_close(
        (with_labels[:, 0] - with_labels[:, 1]).sign(), (with_texts[:, 0] - with_texts[:, 1]).sign()
    )


def test_few_labels_stay_close_to_the_texts_and_many_override_them(tiny_bert, pretrained):
    wrong = {}
    for number in (2, 80):
        slides, growth, _ = tumor_slides(number, seed=3)
        wrong[number] = tuned(tiny_bert, pretrained, slides, labels_of(1 - growth))
    new, _, _ = tumor_slides(20, seed=5)
    texts = logits(pretrained, new)
    distance = {number: float((logits(model, new) - texts).norm()) for number, model in wrong.items()}
    assert distance[2] < distance[80] / 2
    assert accuracy(wrong[80]) < 0.1


def test_labels_add_what_the_texts_do_not_say(tiny_bert, pretrained):
    """The class follows the mucin, which the class texts do not mention."""
    slides, _, mucin = tumor_slides(40, seed=3)
    model = tuned(tiny_bert, pretrained, slides, labels_of(mucin))
    new, _, mucin = tumor_slides(40, seed=5)
    assert float((logits(model, new).argmax(dim=1).numpy() == mucin).mean()) > 0.9


def test_without_descriptions_the_labels_alone_are_learned(tiny_bert):
    model, (slides, growth, _) = make_five(tiny_bert, labels=NAMES, questions={}), tumor_slides(40)
    metrics = fit_to_labels(model, slides, labels_of(growth))
    assert metrics["train_auc"] == 1
    assert accuracy(model) > 0.9
    vector, attention = model.attend(slides.evaluation(slides.files[0], 100), model.encode_prompts())
    assert (vector.shape, attention.shape) == ((1, model.vector_width), (0, 24))


def test_the_order_of_slides_and_of_classes_does_not_matter(tiny_bert, pretrained):
    slides, growth, _ = tumor_slides(24, seed=3)
    first = tuned(tiny_bert, pretrained, slides, labels_of(growth))
    order = np.random.default_rng(0).permutation(24).tolist()
    second = make_five(tiny_bert, labels=NAMES[::-1])
    second.start_from(pretrained)
    fit_to_labels(second, slides, labels_of(growth), order=order)
    new, _, _ = tumor_slides(10, seed=5)
    torch.testing.assert_close(logits(second, new), logits(first, new), atol=1e-3, rtol=1e-3)


def test_two_fits_are_identical(tiny_bert, pretrained):
    slides, growth, _ = tumor_slides(24, seed=3)
    first, second = (tuned(tiny_bert, pretrained, slides, labels_of(growth)) for _ in range(2))
    assert torch.equal(first.weights, second.weights)
    assert torch.equal(first.biases, second.biases)


def test_gates_centre_and_questions_stay_those_of_the_descriptions(tiny_bert, pretrained):
    slides, growth, _ = tumor_slides(24, seed=3)
    model = tuned(tiny_bert, pretrained, slides, labels_of(growth))
    before, after = pretrained.state_dict(), model.state_dict()
    assert after.keys() - before.keys() == {"class_mixture", "weights", "biases"}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_gates_for_many_slides_are_chosen_on_some_of_both_classes(tiny_bert, pretrained, monkeypatch):
    slides, growth, _ = tumor_slides(40, seed=3)  # the classes alternate or not, as drawn
    whole = tuned(tiny_bert, pretrained, slides, labels_of(growth))
    seen = []
    choose = fit_labels.fit_ridge
    monkeypatch.setattr(fit_labels, "SLIDES_FOR_CHOICE", 20)
    monkeypatch.setattr(
        fit_labels, "fit_ridge", lambda inputs, targets: seen.append(targets) or choose(inputs, targets)
    )
    few = tuned(tiny_bert, pretrained, slides, labels_of(growth))
    assert {len(targets) for targets in seen} == {20}
    assert all(targets.sum(dim=0).min() > 0 for targets in seen)
    assert accuracy(few) >= accuracy(whole) - 0.05
