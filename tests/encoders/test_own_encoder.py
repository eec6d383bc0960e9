"""Encoders that users define in a Python file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from pipelines.core.errors import EncoderError, SettingsError
from pipelines.encoders.encoder import encoder_fingerprint, load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "own_encoder.py"
BRIGHTNESS = """
import torch

class TileEncoder(torch.nn.Module):
    width = 3
    tile_size = 64
    mpp = (0.5, 1.0)
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, weights):
        super().__init__()

    def encode(self, batch):
        return batch.mean(dim=(2, 3))
"""
COLOR_WORDS = """
class TextEncoder:
    context_length = 3
    logit_scale = 20.0

    def __init__(self, weights):
        self.colors = {"red": (2.0, 0, 0), "blue": (0, 0, 5.0)}

    def n_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode(self, texts):
        return torch.tensor([self.colors.get(text, (1.0, 1, 1)) for text in texts])
"""


@pytest.fixture
def own(tmp_path):
    """Return a function that writes a file and returns its name."""

    def write(text, name="own.py"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_the_example_in_the_docs_returns_the_features_of_its_network(tmp_path):
    torch.manual_seed(0)
    network = resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    encoder = load_encoder(find_preset(str(EXAMPLE)), weights=tmp_path / "resnet18.pth")
    tiles = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    pixels = (torch.tensor(tiles / 255).float() - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network(pixels.permute(0, 3, 1, 2))
    assert encoder(tiles) == pytest.approx(expected.numpy(), abs=1e-4)


def test_the_class_defines_which_tiles_it_accepts(own):
    preset = find_preset(own(BRIGHTNESS))
    assert (preset.dim, preset.resize, preset.tile_sizes, preset.mpps) == (3, 64, (64,), (0.5, 1.0))
    assert preset.mismatches(64, 0.5) == []
    assert len(preset.mismatches(224, 0.25)) == 2


def test_tiles_are_normalized_with_mean_and_std_of_the_class(own):
    encoder = load_encoder(find_preset(own(BRIGHTNESS)))
    assert encoder(np.full((2, 64, 64, 3), 51, np.uint8)) == pytest.approx(np.full((2, 3), 0.2), abs=1e-6)


def test_the_fingerprint_depends_on_the_content_of_the_file(own):
    before = encoder_fingerprint(find_preset(own(BRIGHTNESS, "a.py")))
    same = encoder_fingerprint(find_preset(own(BRIGHTNESS, "b.py")))
    after = encoder_fingerprint(find_preset(own(BRIGHTNESS.replace("mean(dim", "amax(dim"), "c.py")))
    assert before == same  # the path does not matter
    assert before != after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module\n", r"own\.py, line 1: ModuleNotFoundError"),
        ("x = 1\n", "no class TileEncoder"),
        ("class TileEncoder: pass\n", "no class TileEncoder that extends torch.nn.Module"),
        (BRIGHTNESS.replace("    mpp = (0.5, 1.0)\n", ""), "TileEncoder has no `mpp`"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_an_unusable_file_is_reported_with_the_reason(own, text, message):
    with pytest.raises(EncoderError, match=message):
        find_preset(own(text))


def test_an_error_in_the_constructor_is_reported_with_its_line(own):
    text = BRIGHTNESS.replace("super().__init__()", "super().__init__()\n        raise ValueError('no weights')")
    with pytest.raises(EncoderError, match=r"own\.py, line 13: ValueError: no weights"):
        load_encoder(find_preset(own(text)))


def test_features_of_another_width_than_the_class_states_are_refused(own):
    with pytest.raises(EncoderError, match=r"features have shape \(3,\), expected \(7,\)"):
        load_encoder(find_preset(own(BRIGHTNESS.replace("width = 3", "width = 7"))))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(EncoderError, match=r"gone\.py: no such file"):
        find_preset(str(tmp_path / "gone.py"))


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            "return batch.mean(dim=(2, 3)) / (1 // 0)",
            "of 64 pixels failed: ZeroDivisionError",
            "check that the network",
        ),
        ("return batch.mean(dim=(1, 2, 3))", r"features have shape \(\)", "`width` of the class"),
        (
            "return batch.mean(dim=3).flatten(1)",
            r"features have shape \(192,\), expected \(3,\)",
            "`width` of the class",
        ),
    ],
)
def test_a_broken_network_is_detected_before_a_slide_is_read(own, line, message, hint):
    text = BRIGHTNESS.replace("return batch.mean(dim=(2, 3))", line)
    with pytest.raises(EncoderError, match=message) as caught:
        load_encoder(find_preset(own(text)))
    assert hint in caught.value.hint


def test_a_class_for_texts_gives_the_encoder_a_text_tower(own):
    preset = find_preset(own(BRIGHTNESS + COLOR_WORDS))
    tower = load_text_tower(preset)
    assert tower(["red", "blue"]) == pytest.approx(np.array([[1, 0, 0], [0, 0, 1]]))
    assert (tower.dim, tower.context_length, tower.logit_scale) == (3, 3, 20.0)
    assert tower.space == preset.space(load_encoder(preset).fingerprint)
    assert tower.space.startswith("own.py ")
    with pytest.raises(SettingsError, match=r"the text has 4 tokens, but 3 fit into the text tower of own\.py"):
        tower(["red red red red"])


def test_without_a_class_for_texts_there_is_no_text_tower(own):
    with pytest.raises(EncoderError, match=r"own\.py has no text tower"):
        load_text_tower(find_preset(own(BRIGHTNESS)))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("context_length = 3", "pass", "TextEncoder has no `context_length`"),
        ("logit_scale = 20.0", "pass", "AttributeError: .* no attribute 'logit_scale'"),
        ("def n_tokens", "def number_of_tokens", "TextEncoder has no `n_tokens`"),
        ("self.colors =", "self.colors, x, y =", r"own\.py, line 22: ValueError"),
        ("return torch.tensor(", "raise KeyError(", r"own\.py, line 28: KeyError"),
        ("return torch.tensor(", "return list(", r"encode must return a tensor \(texts, width\)"),
        ("for text in texts])\n", "for text in 'abc'])\n", "encode gave 3 values for 1 texts"),
        ("(1.0, 1, 1)", "(1.0, 1, 1, 1)", "vectors of texts have 4 channels, but features of tiles 3"),
        ("(1.0, 1, 1)", "(float('nan'), 1, 1)", "vectors of texts are not finite"),
    ],
)
def test_an_unusable_class_for_texts_is_reported_with_the_reason(own, before, after, message):
    with pytest.raises(EncoderError, match=message):
        load_text_tower(find_preset(own(BRIGHTNESS + COLOR_WORDS.replace(before, after))))
