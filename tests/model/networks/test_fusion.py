import math

import pytest
import torch
from torch import nn

from pipelines.model.networks.bag_attention import BagAttention
from pipelines.model.networks.fusion import Pads, TileFusion, log_mean_exp

WIDTH, LENGTHS = 128, [5, 1, 9]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def inputs():
    tiles, positions = torch.randn(2, sum(LENGTHS), WIDTH)
    return tiles, positions, nn.functional.normalize(torch.randn(3, WIDTH), dim=-1)


def torch_attention(ours):
    """Return a PyTorch attention module with the same weights."""
    theirs = nn.MultiheadAttention(WIDTH, WIDTH // 64, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = ours.in_proj.weight.data, ours.in_proj.bias.data
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())
    return theirs.eval()


def test_attention_within_bags_equals_pytorch_attention_with_masked_padding(inputs):
    ours = BagAttention(WIDTH)
    padded = nn.utils.rnn.pad_sequence(inputs[0].split(LENGTHS), batch_first=True)
    is_padding = torch.arange(max(LENGTHS)) >= torch.tensor(LENGTHS)[:, None]
    expected, _ = torch_attention(ours)(padded, padded, padded, key_padding_mask=is_padding)
    attended = ours.within(inputs[0], LENGTHS, None, ())
    torch.testing.assert_close(attended, expected[~is_padding])


def test_attention_weights_equal_those_of_pytorch_averaged_over_heads(inputs):
    ours, (tiles, _, prompts) = BagAttention(WIDTH), inputs
    _, expected = torch_attention(ours)(prompts[None], tiles[None], tiles[None])
    torch.testing.assert_close(ours.weights(prompts, tiles), expected[0])


def test_one_weighted_pad_key_equals_several_equal_pads(inputs):
    ours, n_pads = BagAttention(WIDTH), 7
    tiles, pad = inputs[0][:5], torch.randn(1, WIDTH)
    padded = torch.cat([tiles, pad.expand(n_pads, -1)])
    expected = ours.within(padded, [5 + n_pads], None, ())[:5]
    torch.testing.assert_close(ours.within(tiles, [5], pad, [n_pads]), expected)


@pytest.mark.parametrize("cross_residual", [True, False])
def test_a_bag_does_not_depend_on_the_other_bags_of_the_batch(inputs, cross_residual):
    fusion, (tiles, positions, prompts) = TileFusion(WIDTH, cross_residual=cross_residual, pad_key=False), inputs
    together = fusion(tiles, positions, LENGTHS, prompts)
    for row, (x, p) in enumerate(zip(tiles.split(LENGTHS), positions.split(LENGTHS), strict=True)):
        torch.testing.assert_close(fusion(x, p, [len(x)], prompts)[0], together[row])


def test_the_order_of_tiles_does_not_matter(inputs):
    fusion, (tiles, positions, prompts) = TileFusion(WIDTH, cross_residual=True, pad_key=False), inputs
    order = torch.randperm(len(tiles))
    expected = fusion(tiles, positions, [len(tiles)], prompts)
    torch.testing.assert_close(fusion(tiles[order], positions[order], [len(tiles)], prompts), expected)


def test_the_released_bag_embedding_depends_on_the_padding_and_ours_does_not(inputs):
    tiles, positions, prompts = inputs
    released = TileFusion(WIDTH, cross_residual=False, pad_key=True)
    few, many = (
        released(tiles, positions, [len(tiles)], prompts, Pads(torch.zeros(1, WIDTH), [count])) for count in (1, 1000)
    )
    assert not torch.allclose(few, many, atol=1e-3)
    assert TileFusion(WIDTH, cross_residual=False, pad_key=False).pad is None


def test_a_full_bag_does_not_attend_to_a_pad(inputs):
    tiles, positions, prompts = inputs
    fusion = TileFusion(WIDTH, cross_residual=False, pad_key=True)
    with_zero_pads = fusion(tiles, positions, [len(tiles)], prompts, Pads(torch.zeros(1, WIDTH), [0]))
    torch.testing.assert_close(with_zero_pads, fusion(tiles, positions, [len(tiles)], prompts))


def test_log_mean_exp_computes_its_formula_and_does_not_grow_with_the_number_of_tiles():
    tiles = torch.tensor([[0.0, 3.0], [1.0, 3.0]])
    assert log_mean_exp(tiles, 2.0).tolist() == pytest.approx([math.log((1 + math.exp(2.0)) / 2) / 2, 3.0], rel=1e-6)
    torch.testing.assert_close(log_mean_exp(tiles.repeat(100, 1), 2.0), log_mean_exp(tiles, 2.0))


@pytest.mark.parametrize(("sharpness", "expected"), [(None, 0.01), (4.0, math.log((99 + math.exp(4.0)) / 100) / 4)])
def test_one_tile_in_a_hundred_has_more_influence_on_the_log_mean_exp_than_on_the_mean(sharpness, expected):
    fusion = TileFusion(WIDTH, cross_residual=True, pad_key=False, sharpness=sharpness)
    tiles = torch.zeros(100, WIDTH)
    tiles[7] = 1.0
    with torch.no_grad():
        fusion.project.weight.copy_(torch.eye(WIDTH).repeat(1, 2))
        fusion.project.weight[:, :WIDTH] = 0  # the half for the prompts
        fusion.project.bias.zero_()
        pooled = fusion.pool(tiles, torch.zeros_like(tiles), [100], torch.eye(WIDTH)[:3])
    torch.testing.assert_close(pooled, torch.full((1, WIDTH), expected))


def test_attention_of_every_prompt_sums_to_one(inputs):
    tiles, positions, prompts = inputs
    fusion = TileFusion(WIDTH, cross_residual=True, pad_key=False)
    weights = fusion.attention(fusion.mix(tiles, positions, [len(tiles)]), positions, prompts)
    assert weights.shape == (3, sum(LENGTHS))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_the_mlp_applies_quickgelu_between_its_linear_layers():
    mlp = TileFusion(64, cross_residual=True, pad_key=False).self_mlp
    x = torch.randn(64)
    hidden = mlp.up.weight @ x + mlp.up.bias
    expected = mlp.down.weight @ torch.tensor([h / (1 + math.exp(-1.702 * h)) for h in hidden.tolist()]) + mlp.down.bias
    torch.testing.assert_close(mlp(x), expected, atol=1e-5, rtol=1e-4)


def set_segments(monkeypatch, count):
    monkeypatch.setattr("pipelines.model.networks.bag_attention.SEGMENTS", count)


def test_linear_attention_is_exact_if_the_tiles_of_a_segment_are_equal(monkeypatch):
    set_segments(monkeypatch, 4)
    ours = BagAttention(WIDTH, exact_up_to=0)
    tiles = torch.randn(4, WIDTH).repeat_interleave(3, dim=0)
    torch.testing.assert_close(ours.within(tiles, [12], None, ()), exact(ours).within(tiles, [12], None, ()))


def exact(linear):
    other = BagAttention(WIDTH)
    other.load_state_dict(linear.state_dict())
    return other


def test_linear_attention_weights_segment_means_by_the_number_of_their_tiles(monkeypatch):
    set_segments(monkeypatch, 2)
    ours = BagAttention(WIDTH, exact_up_to=0)
    tiles = torch.randn(5, WIDTH)
    queries, keys, values = ours.in_proj(tiles).chunk(3, dim=-1)
    by_head = []
    for head in (slice(0, 64), slice(64, 128)):
        k = [keys[:3, head].mean(dim=0), keys[3:, head].mean(dim=0)]  # segments of three and of two tiles
        v = [values[:3, head].mean(dim=0), values[3:, head].mean(dim=0)]
        a, b = (size * (queries[:, head] @ key / 8).exp() for size, key in zip((3, 2), k, strict=True))
        by_head.append((a[:, None] * v[0] + b[:, None] * v[1]) / (a + b)[:, None])
    expected = ours.out_proj(torch.cat(by_head, dim=1))
    torch.testing.assert_close(ours.within(tiles, [5], None, ()), expected)


def test_linear_attention_includes_padding_as_exact_attention_does(monkeypatch):
    set_segments(monkeypatch, 4)
    ours, pad = BagAttention(WIDTH, exact_up_to=0), torch.randn(1, WIDTH)
    tiles = torch.randn(4, WIDTH).repeat_interleave(2, dim=0)
    torch.testing.assert_close(ours.within(tiles, [8], pad, [5]), exact(ours).within(tiles, [8], pad, [5]))


def test_only_bags_above_the_limit_use_linear_attention(monkeypatch):
    set_segments(monkeypatch, 2)
    ours = BagAttention(WIDTH, exact_up_to=6)
    tiles = torch.randn(6 + 7, WIDTH)
    attended = ours.within(tiles, [6, 7], None, ())
    same = torch.isclose(attended, exact(ours).within(tiles, [6, 7], None, ()), atol=1e-6).all(dim=1)
    assert same.tolist() == [True] * 6 + [False] * 7


def test_gradients_flow_through_linear_attention(monkeypatch):
    set_segments(monkeypatch, 3)
    ours, tiles = BagAttention(WIDTH, exact_up_to=0), torch.randn(10, WIDTH, requires_grad=True)
    ours.within(tiles, [10], None, ()).square().sum().backward()
    assert (tiles.grad.abs().sum(dim=1) > 0).all()


def test_processing_in_blocks_does_not_change_the_result(monkeypatch, inputs):
    tiles, positions, prompts = inputs
    fusion = TileFusion(WIDTH, cross_residual=True, pad_key=False)
    with torch.no_grad():
        expected = fusion(tiles, positions, LENGTHS, prompts)
        monkeypatch.setattr("pipelines.model.networks.fusion.BLOCK", 4)
        torch.testing.assert_close(fusion(tiles, positions, LENGTHS, prompts), expected)
