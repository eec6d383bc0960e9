"""Encoders: preprocessing, embedding rules, batches and memory."""

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pipelines.core.errors import EncoderError
from pipelines.core.settings import EmbedSettings
from pipelines.encoders.encoder import Encoder, load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.networks import build_network
from pipelines.encoders.preset import Preset

PACKAGED = find_preset(EmbedSettings.encoder)
MEAN, STD = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)


class Means(nn.Module):
    """Stand-in network that returns the mean of each color channel."""

    def forward(self, pixels):
        return pixels.mean(dim=(2, 3))


def encoder_of(network, **fields):
    preset = Preset(name="stand-in", architecture="none", dim=3, mean=MEAN, std=STD, **fields)
    return Encoder(network, preset, weights_fingerprint="w", device="cpu", precision="fp32")


def flat_tiles(color, n=2, size=224):
    return np.broadcast_to(np.array(color, np.uint8), (n, size, size, 3)).copy()


def test_pixels_are_scaled_to_one_and_normalized_per_channel():
    features = encoder_of(Means())(flat_tiles((255, 0, 51)))
    assert features == pytest.approx(np.array([[1.0, -1.0, 0.2]] * 2), abs=1e-5)  # (1-.5)/.5, (0-.25)/.25, .2


def test_tiles_of_another_size_are_resized_to_the_input_size():
    shapes = []

    class RecordsShapes(Means):
        def forward(self, pixels):
            shapes.append(tuple(pixels.shape[1:]))
            return super().forward(pixels)

    encoder_of(RecordsShapes())(flat_tiles((9, 9, 9), size=256))
    assert shapes == [(3, 224, 224)]


def test_a_preset_with_a_crop_resizes_and_crops_the_center():
    tile = np.zeros((1, 256, 256, 3), np.uint8)
    tile[:, 16:240, 16:240] = 255  # exactly the middle 224 pixels
    features = encoder_of(Means(), resize=256, input_size=224)(tile)
    assert features[0] == pytest.approx([1.0, 3.0, 1.0], abs=1e-5)


@pytest.fixture(scope="module")
def tiny_vit():
    torch.manual_seed(0)
    return timm.create_model("test_vit", pretrained=False, num_classes=0).eval()


def vit_encoder(network, embedding, dim):
    size = network.default_cfg["input_size"][-1]
    preset = Preset("vit", "test_vit", dim, embedding=embedding, resize=size, input_size=size)
    return Encoder(network, preset, weights_fingerprint="w", device="cpu", precision="fp32"), size


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_features_do_not_depend_on_the_batch(tiny_vit, batch):
    encoder, size = vit_encoder(tiny_vit, "cls", tiny_vit.num_features)
    tiles = np.random.default_rng(0).integers(0, 256, (5, size, size, 3), np.uint8)
    parts = [encoder(tiles[start : start + batch]) for start in range(0, 5, batch)]
    assert np.concatenate(parts) == pytest.approx(encoder(tiles), abs=1e-5)


def test_class_token_and_mean_are_concatenated(tiny_vit):
    encoder, size = vit_encoder(tiny_vit, "cls+mean", 2 * tiny_vit.num_features)
    tile = np.random.default_rng(1).integers(0, 256, (1, size, size, 3), np.uint8)
    tokens = tiny_vit.forward_features(encoder._preprocess(torch.from_numpy(tile).permute(0, 3, 1, 2)))[0]
    expected = torch.cat([tokens[0], tokens[tiny_vit.num_prefix_tokens :].mean(dim=0)])
    assert encoder(tile)[0] == pytest.approx(expected.detach().numpy(), abs=1e-5)


def test_a_batch_that_does_not_fit_is_halved_without_losing_tiles():
    class FitsThreeTiles(Means):
        def forward(self, pixels):
            if len(pixels) > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().forward(pixels)

    encoder = encoder_of(FitsThreeTiles())
    tiles = np.concatenate([flat_tiles((10 * k, 0, 0), n=1) for k in range(7)])
    assert encoder(tiles) == pytest.approx(encoder_of(Means())(tiles), abs=1e-6)
    assert encoder.largest_batch == 3  # 7, then half of it


def test_a_single_tile_that_does_not_fit_is_an_error_with_a_hint():
    class FitsNothing(nn.Module):
        def forward(self, pixels):
            raise RuntimeError("out of memory")

    with pytest.raises(EncoderError, match="one tile does not fit") as caught:
        encoder_of(FitsNothing())(flat_tiles((0, 0, 0)))
    assert "smaller encoder" in caught.value.hint


def test_other_errors_of_the_network_are_not_mistaken_for_memory_errors():
    class Broken(nn.Module):
        def forward(self, pixels):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        encoder_of(Broken())(flat_tiles((0, 0, 0)))


def test_the_fingerprint_depends_on_the_preprocessing():
    fingerprints = {encoder_of(Means()).fingerprint, encoder_of(Means(), resize=256).fingerprint}
    assert len(fingerprints) == 2


class TestPackagedEncoder:
    @pytest.fixture(scope="class")
    def encoder(self):
        return load_encoder(PACKAGED)

    def test_it_is_part_of_the_installation(self, encoder):
        assert encoder.dim == 1280
        assert encoder.device == "cpu"

    def test_every_layer_has_its_weights(self):
        untrained = build_network(PACKAGED).state_dict()
        trained = load_encoder(PACKAGED)._network.state_dict()
        same = [
            name
            for name, value in untrained.items()
            if value.dtype.is_floating_point and value.numel() > 1 and torch.equal(value, trained[name])
        ]
        assert same == []

    def test_features_equal_those_of_the_published_network(self, encoder):
        """Compare the largest of 1,280 values with efficientnet-lite-pytorch 0.1.0, for pixels (x - 127) / 128."""
        y, x = np.mgrid[:224, :224]
        tile = np.stack([x, y, (x * y) % 224], axis=-1).astype(np.uint8)
        features = encoder(tile[None])[0]
        largest = {1062: 4.4599, 113: 4.3666, 989: 4.2281, 315: 4.1326, 782: 4.0345, 115: 3.4393}
        assert features[list(largest)] == pytest.approx(list(largest.values()), abs=1e-3)
        assert features.mean() == pytest.approx(0.18344, abs=1e-4)

    def test_colors_change_the_features(self, encoder):
        pink, violet = (encoder(flat_tiles(color, n=1))[0] for color in ((230, 150, 190), (110, 60, 150)))
        cosine = pink @ violet / np.linalg.norm(pink) / np.linalg.norm(violet)
        assert cosine < 0.95


def relative_distance(features, expected):
    return np.linalg.norm(features - expected) / np.linalg.norm(expected)


def random_tiles():
    return np.random.default_rng(2).integers(0, 256, (5, 224, 224, 3), np.uint8)


def test_bf16_features_are_close_to_fp32():
    tiles = random_tiles()
    features = load_encoder(PACKAGED, precision="bf16")(tiles)
    assert features.dtype == np.float32
    assert relative_distance(features, load_encoder(PACKAGED)(tiles)) < 0.05


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 0.05), ("fp16", 0.01)])
def test_gpu_features_agree_with_cpu_features(precision, tolerance):
    tiles = random_tiles()
    features = load_encoder(PACKAGED, device="cuda", precision=precision)(tiles)
    assert relative_distance(features, load_encoder(PACKAGED)(tiles)) < tolerance


@pytest.mark.gpu
@needs_cuda
def test_a_full_gpu_halves_the_batch_and_continues():
    encoder = load_encoder(PACKAGED, device="cuda", precision="fp32")
    tiles = random_tiles()
    expected = encoder(tiles)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + 300e6) / total))
    try:
        features = encoder(np.concatenate([tiles] * 100))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert encoder.largest_batch is not None
    assert relative_distance(features[:5], expected) < 1e-3


@pytest.mark.slow
def test_a_compiled_network_returns_the_same_features_for_any_batch_size():
    tiles = random_tiles()
    compiled = load_encoder(PACKAGED, compile=True)
    expected = load_encoder(PACKAGED)(tiles)
    assert compiled(tiles) == pytest.approx(expected, abs=1e-4)
    assert compiled(tiles[:2]) == pytest.approx(expected[:2], abs=1e-4)
