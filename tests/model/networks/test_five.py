import pytest
import torch

from pipelines.core.settings.model import ModelSettings
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import load_model, save_model
from tests.model.five_slides import (
    NAMES,
    TEXTS,
    Slides,
    bag,
    fit_to_answers,
    fit_to_labels,
    logits,
    make_five,
    true_answers,
    tumor_slides,
)
from tests.run_manifests import mark_complete

OTHER_TEXTS = {"a": ["rings of cells"], "b": ["spindle cells", "bundles of cells"], "c": ["mucin is absent"]}


@pytest.fixture(scope="module")
def pretrained(tiny_bert):
    model, (slides, growth, mucin) = make_five(tiny_bert), tumor_slides(40)
    model.scale_features(torch.arange(6.0) / 10, torch.linspace(0.5, 2, 6))
    fit_to_answers(model, slides, true_answers(slides, growth, mucin))
    return model


@pytest.fixture(scope="module")
def tuned(tiny_bert, pretrained):
    model, (slides, growth, _) = make_five(tiny_bert, labels=NAMES), tumor_slides(16, seed=2)
    model.start_from(pretrained)
    fit_to_labels(model, slides, [NAMES[value] for value in growth])
    return model


@pytest.fixture(scope="module")
def new():
    return tumor_slides(20, seed=5)[0]


@pytest.mark.parametrize("kind", ["pretrained", "tuned"])
def test_the_contributions_of_the_tiles_and_the_bias_sum_to_the_logit(request, new, kind):
    model = request.getfixturevalue(kind)
    for classes in (TEXTS, OTHER_TEXTS):
        vectors = model.encode_classes(classes)
        bias = model.biases if kind == "tuned" and classes is TEXTS else 0
        for tiles in new.tiles.values():
            added = model.contributions(bag(tiles), vectors)
            assert added.shape == (len(classes), 24)
            expected = model.logits(model.encode_bags([bag(tiles)], model.encode_prompts()), vectors)[0]
            torch.testing.assert_close(added.sum(dim=1) + bias, expected, atol=1e-4, rtol=1e-4)


def test_tumor_tiles_contribute_to_the_class_and_the_others_do_not(pretrained, new):
    vectors = pretrained.encode_classes(TEXTS)
    per_tile = torch.stack([pretrained.contributions(bag(tiles), vectors) for tiles in new.tiles.values()])
    between = (per_tile[:, 1] - per_tile[:, 0]).abs()  # growth is seen in the first 8 tiles only
    assert float(between[:, :8].mean()) > 4 * float(between[:, 8:].mean())


def test_the_vector_of_attend_is_that_of_encode_bags(tuned, new):
    for tiles in new.tiles.values():
        vector, _ = tuned.attend(bag(tiles), tuned.encode_prompts())
        torch.testing.assert_close(vector, tuned.encode_bags([bag(tiles)], tuned.encode_prompts()))


def test_logits_of_two_classes_differ_by_one_in_the_root_mean_square_over_the_training_slides(pretrained):
    own, _, _ = tumor_slides(40)
    found = logits(pretrained, own, OTHER_TEXTS)
    pairs = [(0, 1), (0, 2), (1, 2)]
    squares = torch.stack([(found[:, a] - found[:, b]).square().mean() for a, b in pairs])
    assert float(squares.mean().sqrt()) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("classes", [{"a": ["xxx"], "b": ["yyy"]}, {"a": ["round cells"], "b": ["round cells"]}])
def test_class_texts_that_do_not_differ_give_equal_logits(pretrained, new, classes):
    found = logits(pretrained, new, classes)
    torch.testing.assert_close(found, torch.zeros_like(found))


def test_the_order_of_classes_does_not_matter(tuned, new):
    for classes in (TEXTS, OTHER_TEXTS):
        backwards = dict(reversed(classes.items()))
        torch.testing.assert_close(logits(tuned, new, backwards).flip(1), logits(tuned, new, classes))


def test_other_classes_than_those_of_the_labels_are_predicted_from_their_texts(pretrained, tuned, new):
    torch.testing.assert_close(logits(tuned, new, OTHER_TEXTS), logits(pretrained, new, OTHER_TEXTS))
    assert not torch.allclose(logits(tuned, new), logits(pretrained, new))


def test_the_text_directions_of_a_question_are_orthonormal(pretrained):
    for number in range(2):
        used = pretrained.axes[number][pretrained.axes[number].any(dim=1)]
        assert len(used) == 1  # two answers differ in one direction
        torch.testing.assert_close(used @ used.T, torch.eye(len(used)))


def test_attention_of_equal_tiles_is_equal(pretrained):
    tiles = next(iter(tumor_slides(1)[0].tiles.values()))
    _, maps = pretrained.attend(bag(torch.cat([tiles, tiles])), pretrained.encode_prompts())
    torch.testing.assert_close(maps[:, :24], maps[:, 24:])


@pytest.mark.parametrize("kind", ["pretrained", "tuned"])
def test_a_saved_model_predicts_bit_for_bit_the_same(request, new, tmp_path, kind):
    model = request.getfixturevalue(kind)
    save_model(model, tmp_path, settings={**model.settings.as_dict()})
    mark_complete(tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(logits(loaded, new), logits(model, new))
    for tiles in new.tiles.values():
        maps = [each.attend(bag(tiles), each.encode_prompts())[1] for each in (loaded, model)]
        assert torch.equal(*maps)


def test_no_parameter_is_trained_by_gradient(tuned):
    assert not [name for name, weight in tuned.named_parameters() if weight.requires_grad]


def test_a_model_that_is_not_fitted_gives_equal_logits_and_uniform_attention(tiny_bert, new):
    model = make_five(tiny_bert)
    assert not logits(model, new).any()
    _, maps = model.attend(bag(torch.randn(7, 6)), model.encode_prompts())
    torch.testing.assert_close(maps, torch.full((2, 7), 1 / 7))


def test_the_default_settings_build_it(tiny_bert, pretrained):
    built = build_model(ModelSettings(text_model=str(tiny_bert)), pretrained.spec)
    assert type(built) is type(pretrained)
    assert built.gates.count == 5


def test_slides_do_not_affect_each_other(tuned, new):
    together = logits(tuned, new)
    alone = torch.cat([logits(tuned, Slides({name: tiles})) for name, tiles in new.tiles.items()])
    torch.testing.assert_close(together, alone)
