"""With the `released` options, the fusion network computes exactly what the published one does.

The reference values were computed with the published modules; see tests/data/make_fusion_parity.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.model.networks.fusion import Pads, TileFusion
from pipelines.model.networks.positions import sequence_encoding

REFERENCE = Path(__file__).parents[2] / "data" / "fusion_parity.npz"


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


class Case:
    """One reference case, computed by our network: without padded tiles, and with one key for all pads."""

    def __init__(self, reference, name):
        self.expected = {
            key.removeprefix(f"{name}/"): value for key, value in reference.items() if key.startswith(name)
        }
        e = self.expected
        self.lengths = e["sample_range"].tolist()
        padded, width = e["x"].shape[1:]
        self.x = torch.cat([bag[:n] for bag, n in zip(e["x"], self.lengths, strict=True)]).requires_grad_()
        self.prompts = e["prompt"].clone().requires_grad_()
        file_position = e["patch_inds"] / e["patch_pub_cnt"][:, None]
        real = torch.cat([p[:n] for p, n in zip(file_position, self.lengths, strict=True)])
        pad_position = torch.tensor(self.lengths) / e["patch_pub_cnt"]
        self.positions = sequence_encoding(real, width)
        self.pads = Pads(sequence_encoding(pad_position, width), [padded - n for n in self.lengths])
        self.fusion = TileFusion(width, cross_residual=False, pad_key=True)
        self.fusion.load_state_dict({k.removeprefix("state/"): v for k, v in e.items() if k.startswith("state/")})

    def run(self):
        out = self.fusion(self.x, self.positions, self.lengths, self.prompts, self.pads)
        (out * self.expected["loss_weight"]).sum().backward()
        return out

    def real(self, per_bag):
        return torch.cat([bag[:n] for bag, n in zip(per_bag, self.lengths, strict=True)])


@pytest.fixture(params=["padded", "sampled"])
def case(request, reference):
    return Case(reference, request.param)


def test_bag_embeddings_equal_those_of_the_published_network(case):
    torch.testing.assert_close(case.run(), case.expected["out"], atol=1e-5, rtol=1e-5)


def test_tiles_after_self_attention_equal_those_of_the_published_network(case):
    mixed = case.fusion.mix(case.x, case.positions, case.lengths, case.pads)
    torch.testing.assert_close(mixed, case.real(case.expected["self_attn_out"]), atol=1e-5, rtol=1e-5)


def test_gradients_of_inputs_equal_those_of_the_published_network(case):
    case.run()
    torch.testing.assert_close(case.x.grad, case.real(case.expected["grad_x"]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(case.prompts.grad, case.expected["grad_prompt"], atol=1e-4, rtol=1e-4)


def test_gradients_of_weights_equal_those_of_the_published_network(case):
    case.run()
    ours = dict(case.fusion.named_parameters())
    expected = {key.removeprefix("grad/"): value for key, value in case.expected.items() if key.startswith("grad/")}
    assert len(expected) >= 15
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name].grad, gradient, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_every_weight_is_compared(reference):
    compared = {key.removeprefix("sampled/grad/") for key in reference if key.startswith("sampled/grad/")}
    assert compared == {name for name, _ in TileFusion(64, cross_residual=False, pad_key=True).named_parameters()}


def test_the_sequence_encoding_equals_that_of_the_published_network(reference):
    file_position = reference["positions/inds"][0] / reference["positions/cnt"][0]
    torch.testing.assert_close(sequence_encoding(file_position, 512), reference["positions/enc"][0], atol=1e-6, rtol=0)
