import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import SettingsError
from pipelines.core.settings.model import BASELINES, PROTOTYPES, ModelSettings
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.baselines.attention_pooling import Abmil, ClamSb, GatedAttention, smooth_svm
from pipelines.model.networks.baselines.dsmil import Dsmil
from pipelines.model.networks.baselines.model import AGGREGATORS
from pipelines.model.networks.baselines.nystrom import nystrom_attention, pseudo_inverse, segment_means
from pipelines.model.networks.baselines.pooling import MaxPooling, MeanPooling
from pipelines.model.networks.baselines.transmil import TransMil, fill_square
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import load_model, save_model
from tests.run_manifests import mark_complete

DIM, WIDTH = 6, 64
CLASSES = {"a": ["text of a"], "b": ["text of b"], "c": ["text of c"]}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def make_model(name):
    return build_model(
        ModelSettings(model=name, width=WIDTH), ModelSpec(DIM, "toy", "01", 224, 0.5, {}, list(CLASSES))
    ).eval()


def bag(n_tiles, seed=0):
    features = torch.randn(n_tiles, DIM, generator=torch.Generator().manual_seed(seed))
    corners = np.zeros((n_tiles, 2), np.int64)
    return TileBag("s", features, corners, 448, torch.zeros(n_tiles, 2), torch.zeros(n_tiles), 1.0)


def identity_embedding(network):
    """Make the first layer the identity for tiles with positive values."""
    network.embed[0].weight.data = torch.eye(*network.embed[0].weight.shape)
    network.embed[0].bias.data.zero_()
    return network.eval()


TILES = torch.tensor([[1.0, 0.0], [3.0, 2.0], [2.0, 7.0]])


@pytest.mark.parametrize(("network", "pooled"), [(MeanPooling, [2.0, 3.0]), (MaxPooling, [3.0, 7.0])])
def test_pooling_takes_the_mean_or_the_maximum_of_each_channel(network, pooled):
    network = identity_embedding(network(2, 2, 2))
    expected = network.classify(torch.tensor(pooled))
    torch.testing.assert_close(network(TILES), expected)


def test_gated_attention_computes_the_equation_of_the_paper():
    gated = GatedAttention(2)  # one hidden channel
    for layer, weights in ((gated.value, [[0.5, -1.0]]), (gated.gate, [[1.0, 0.25]]), (gated.score, [[2.0]])):
        layer.weight.data = torch.tensor(weights)
        layer.bias.data.zero_()
    tile = torch.tensor([[1.0, 2.0]])  # value 0.5 - 2 = -1.5, gate 1 + 0.5 = 1.5
    expected = 2.0 * math.tanh(-1.5) / (1 + math.exp(-1.5))
    assert gated(tile).item() == pytest.approx(expected, rel=1e-6)


def test_abmil_weights_tiles_by_the_softmax_of_their_scores():
    network = identity_embedding(Abmil(2, 2, 2))
    a, b, c = (math.exp(score) for score in network.gated(TILES).tolist())
    pooled = (a * TILES[0] + b * TILES[1] + c * TILES[2]) / (a + b + c)
    torch.testing.assert_close(network(TILES), network.classify(pooled))
    torch.testing.assert_close(network.attention(TILES), torch.tensor([[a, b, c]]) / (a + b + c))


def test_the_smooth_svm_loss_is_a_softplus_of_margin_plus_score_difference():
    scores = torch.tensor([[0.2, 1.5]])
    assert smooth_svm(scores, 1).item() == pytest.approx(math.log(1 + math.exp(1 + 0.2 - 1.5)), rel=1e-6)
    assert smooth_svm(scores, 0).item() == pytest.approx(math.log(1 + math.exp(1 + 1.5 - 0.2)), rel=1e-6)


def test_clam_labels_high_and_low_attention_for_the_slides_class_and_high_attention_for_the_others():
    network = ClamSb(1, 1 * 2, 2)
    scores = {0: (0.5, 0.25), 1: (-1.0, 2.0)}  # class -> negative and positive score of a tile with value 1
    for number, (negative, positive) in scores.items():
        network.instances[number].weight.data = torch.tensor([[negative, 0.0], [positive, 0.0]])
        network.instances[number].bias.data.zero_()
    tiles = torch.tensor([[10.0, 0.0], [1.0, 0.0], [4.0, 0.0], [2.0, 0.0]])
    attention = torch.tensor([3.0, -1.0, 5.0, 0.0])  # values of the tiles by attention: 4, 10 | 2, 1

    def loss(value, number, *, is_positive):
        negative, positive = (value * score for score in scores[number])
        return math.log(1 + math.exp(1 + (negative - positive if is_positive else positive - negative)))

    own = [loss(4, 0, is_positive=True), loss(10, 0, is_positive=True)]
    own += [loss(1, 0, is_positive=False), loss(2, 0, is_positive=False)]
    other = [loss(4, 1, is_positive=False), loss(10, 1, is_positive=False)]
    expected = (sum(own) / 4 + sum(other) / 2) / 2
    assert network.instance_loss(tiles, attention, 0).item() == pytest.approx(expected, rel=1e-6)


def test_the_clam_loss_is_70_percent_slide_loss_and_30_percent_instance_loss():
    network = identity_embedding(ClamSb(2, 2, 2))
    attention = network.gated(TILES)
    slide_loss = -network(TILES).log_softmax(dim=0)[1]
    expected = 0.7 * slide_loss + 0.3 * network.instance_loss(TILES, attention, 1)
    torch.testing.assert_close(network.loss(TILES, torch.tensor(1)), expected)


def test_the_clam_instance_loss_of_a_slide_with_one_tile_is_zero():
    assert make_model("clam-sb").network.instance_loss(torch.randn(1, WIDTH), torch.randn(1), 0).item() == 0.0


def test_dsmil_weights_tiles_by_similarity_to_the_critical_tile():
    network = identity_embedding(Dsmil(2, 2, 2))
    network.classify_tiles.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    network.classify_tiles.bias.data.zero_()
    tiles = TILES.double()
    network.double()
    queries = network.query(tiles).detach()
    critical = {0: 1, 1: 2}  # the tiles with the largest first and second channel
    slides = []
    for number in (0, 1):
        weights = [math.exp(float(queries[critical[number]] @ query) / math.sqrt(128)) for query in queries]
        slides.append(sum(w / sum(weights) * network.value(tile) for w, tile in zip(weights, tiles, strict=True)))
    weight, bias = network.classify.weight, network.classify.bias  # (2 classes, 2 slide vectors, width)
    second = torch.stack([(weight[k] * torch.stack(slides)).sum() + bias[k] for k in (0, 1)])
    first = torch.tensor([3.0, 7.0], dtype=torch.float64)
    torch.testing.assert_close(network(tiles), (first + second) / 2)
    expected = -(first.log_softmax(0)[1] + second.log_softmax(0)[1]) / 2
    torch.testing.assert_close(network.loss(tiles, torch.tensor(1)), expected)


def test_the_pseudo_inverse_of_a_softmax_is_its_inverse():
    matrices = (torch.randn(2, 5, 5, dtype=torch.float64) + 4 * torch.eye(5)).softmax(dim=-1)  # well conditioned
    torch.testing.assert_close(pseudo_inverse(matrices), torch.linalg.inv(matrices), atol=1e-4, rtol=0)


def test_segment_means_cover_the_sequence():
    sequence = torch.arange(7.0)[None, :, None]
    means = segment_means(sequence, 3)[0, :, 0]
    torch.testing.assert_close(means, torch.tensor([1.0, 3.5, 5.5]))  # 0 1 2 | 3 4 | 5 6


def test_nystrom_attention_with_one_landmark_per_member_is_exact():
    queries, keys = 4 * torch.eye(9).expand(2, 2, 9, 9)  # each attends mostly to itself: well conditioned
    values = torch.randn(2, 9, 9)
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(nystrom_attention(queries, keys, values, 9), expected, atol=1e-3, rtol=0)


def test_nystrom_attention_is_exact_if_the_members_of_a_segment_are_equal():
    landmarks = torch.stack([3 * torch.eye(4).repeat(2, 1, 2)] * 2 + [torch.randn(2, 4, 8)])
    queries, keys, values = landmarks.repeat_interleave(6, dim=2)  # 4 segments of 6 equal members
    expected = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
    torch.testing.assert_close(nystrom_attention(queries, keys, values, 4), expected, atol=1e-3, rtol=0)


def test_the_square_of_transmil_is_filled_with_the_first_tiles_again():
    assert fill_square(torch.arange(7)[:, None], 3)[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def test_the_convolutions_of_transmil_cover_neighbors_in_the_square():
    network = TransMil(DIM, WIDTH, 2).eval()
    tiles = torch.zeros(81, WIDTH)
    moved = network.encode_positions(tiles + torch.eye(81)[:, 40:41], 9) - network.encode_positions(tiles, 9)
    touched = moved.abs().sum(dim=1).reshape(9, 9) > 0
    assert touched[1:8, 1:8].all()  # the largest kernel is 7 x 7, around the center
    assert touched.sum() == 49


@pytest.mark.parametrize("name", BASELINES)
def test_only_transmil_depends_on_the_order_of_tiles(name):
    model, original = make_model(name), bag(20)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    moved = replace(original, features=original.features[order])
    scores, again = (model.encode_bags([each], model.encode_prompts()) for each in (original, moved))
    assert torch.allclose(scores, again, atol=1e-5) == (name != "transmil")


@pytest.mark.parametrize("name", BASELINES)
def test_a_bag_does_not_depend_on_the_other_bags_of_the_batch(name):
    model, bags = make_model(name), [bag(5), bag(1, 1), bag(30, 2)]
    together = model.encode_bags(bags, model.encode_prompts())
    assert together.shape == (3, model.vector_width)
    for row, alone in enumerate(bags):
        torch.testing.assert_close(model.encode_bags([alone], model.encode_prompts())[0], together[row])


@pytest.mark.parametrize("name", BASELINES)
def test_attention_maps_sum_to_one_and_are_named(name):
    model = make_model(name)
    _, maps = model.attend(bag(12), model.encode_prompts())
    assert maps.shape == (len(model.prompt_names), 12)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(len(maps)))
    expected = {"abmil": ("attention",), "clam-sb": ("attention",), "dsmil": ("a", "b", "c")}
    assert model.prompt_names == expected.get(name, ())


@pytest.mark.parametrize("name", AGGREGATORS)
def test_every_weight_gets_a_gradient_from_the_loss(name):
    model = make_model(name).train()
    model.class_losses([bag(20), bag(30, 1)], torch.tensor([0, 2]), CLASSES).mean().backward()
    without_gradient = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().sum()
    ]
    unused = ["gated.score.bias"] if name in ("abmil", "clam-sb") else []  # a softmax ignores a constant
    assert [name for name in without_gradient if not name.endswith(tuple(unused) or "-")] == []


@pytest.mark.parametrize("name", ["mean", "dsmil"])
def test_targets_are_indices_into_the_given_classes(name):
    model = make_model(name)
    reordered = {key: CLASSES[key] for key in ("c", "a", "b")}
    losses = model.class_losses([bag(4)], torch.tensor([0]), reordered)
    torch.testing.assert_close(losses, model.class_losses([bag(4)], torch.tensor([2]), CLASSES))
    vector = model.encode_bags([bag(4)], model.encode_prompts())
    torch.testing.assert_close(model.logits(vector, model.encode_classes(reordered)), vector[:, [2, 0, 1]])


def test_classes_other_than_the_training_classes_are_refused():
    with pytest.raises(SettingsError, match=r"a, d: this model was trained on a, b, c") as caught:
        make_model("mean").encode_classes({"a": ["x"], "d": ["y"]})
    assert "--classes" in caught.value.hint


def test_a_baseline_cannot_be_pretrained_on_descriptions():
    with pytest.raises(SettingsError, match="abmil learns from labels"):
        TrainSettings(model="abmil")


@pytest.mark.parametrize("name", BASELINES)
def test_a_loaded_checkpoint_computes_exactly_the_same(name, tmp_path):
    model = make_model(name)
    save_model(model, tmp_path, settings={"lr": 1.0})
    mark_complete(tmp_path)
    loaded = load_model(tmp_path)
    assert torch.equal(
        loaded.encode_bags([bag(9)], loaded.encode_prompts()), model.encode_bags([bag(9)], model.encode_prompts())
    )
    assert (loaded.settings, loaded.spec) == (model.settings, model.spec)


def test_every_baseline_of_the_settings_has_a_network():
    assert {*AGGREGATORS, *PROTOTYPES} == set(BASELINES)
