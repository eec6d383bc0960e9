"""Weights are found, read without running code, and loaded completely."""

import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipelines.core.errors import EncoderError
from pipelines.core.settings import EmbedSettings
from pipelines.encoders import weights
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.preset import Preset
from pipelines.encoders.weights import read_weights

TINY = Preset("tiny", "test_resnet", 0, resize=160, input_size=160)


@pytest.fixture
def state():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", pretrained=False, num_classes=0).state_dict()


def test_the_network_has_the_weights_of_the_file(tmp_path, state):
    save_file(state, tmp_path / "tiny.safetensors")
    network = load_encoder(TINY, weights=tmp_path / "tiny.safetensors")._network
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_a_training_checkpoint_is_unwrapped(tmp_path, state):
    torch.save({"state_dict": state, "epoch": torch.tensor(3)}, tmp_path / "tiny.pth")
    assert read_weights(tmp_path / "tiny.pth").keys() == state.keys()


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("file_format", ["torch", "pickle"])
def test_a_file_that_contains_code_is_refused_and_not_run(tmp_path, file_format):
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    if file_format == "torch":
        torch.save({"w": Bomb(victim)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(victim), protocol=4))
    with pytest.raises(EncoderError, match=r"evil\.pth"):
        read_weights(path)
    assert not victim.exists()


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth"])
def test_the_error_for_a_damaged_file_names_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x80\x02 not weights")
    with pytest.raises(EncoderError, match=name):
        read_weights(tmp_path / name)


def test_weights_of_another_network_are_refused(tmp_path):
    other = timm.create_model("test_vit", pretrained=False, num_classes=0).state_dict()
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(EncoderError, match="these are not the weights of tiny"):
        load_encoder(TINY, weights=tmp_path / "other.safetensors")


def test_a_weight_of_another_shape_is_refused(tmp_path, state):
    name = next(name for name, value in state.items() if value.ndim == 4)
    state[name] = state[name][:1]
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "odd.safetensors")
    with pytest.raises(EncoderError, match="not the weights of tiny"):
        load_encoder(TINY, weights=tmp_path / "odd.safetensors")


def test_the_weights_of_the_default_encoder_are_installed():
    assert weights.find_weights(find_preset(EmbedSettings.encoder)).is_file()
