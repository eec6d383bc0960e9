"""The presets: size and preprocessing of the published networks, documentation, similar names."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.embeddings import EMBEDDINGS
from pipelines.encoders.encoder import Encoder, load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.networks import build_network
from pipelines.encoders.preset import Preset
from pipelines.encoders.presets import ENCODER_PRESETS

DOCS = Path(__file__).parent.parent.parent / "docs"
IMAGENET = [(0.485, 0.456, 0.406), (0.229, 0.224, 0.225)]
CLIP = [(0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)]
HALF = [(0.5, 0.5, 0.5), (0.5, 0.5, 0.5)]
BIOPTIMUS = [(0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517)]
HISTAI = [(0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816)]
LUNIT = [(0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464)]
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
TRANSFORMS = {  # resize, crop, interpolation, mean and standard deviation in the authors' code
    "uni": (224, 224, BILINEAR, IMAGENET),
    "uni2-h": (224, 224, BILINEAR, IMAGENET),
    **dict.fromkeys(("conch", "conch-joint"), (448, 448, BICUBIC, CLIP)),
    "conch-1.5": (448, 448, BILINEAR, IMAGENET),
    "virchow": (224, 224, BICUBIC, IMAGENET),
    "virchow2": (224, 224, BICUBIC, IMAGENET),
    "prov-gigapath": (256, 224, BICUBIC, IMAGENET),
    **dict.fromkeys(("h-optimus-0", "h-optimus-1", "h0-mini"), (224, 224, BICUBIC, BIOPTIMUS)),
    "phikon": (224, 224, BILINEAR, IMAGENET),
    "phikon-v2": (224, 224, BICUBIC, IMAGENET),
    **dict.fromkeys(("hibou-b", "hibou-l"), (224, 224, BICUBIC, HISTAI)),
    "midnight-12k": (224, 224, BILINEAR, HALF),
    **dict.fromkeys((name for name in ENCODER_PRESETS if name.startswith("kaiko-")), (224, 224, BILINEAR, HALF)),
    **dict.fromkeys(("lunit-vits16", "lunit-vits8"), (224, 224, BICUBIC, LUNIT)),
    **dict.fromkeys(("musk", "musk-multiscale", "musk-joint"), (384, 384, BICUBIC, HALF)),
    "plip": (224, 224, BICUBIC, CLIP),
    "ctranspath": (224, 224, BILINEAR, IMAGENET),
    "keep": (224, 224, BICUBIC, IMAGENET),
    "gpfm": (224, 224, BICUBIC, IMAGENET),
    **dict.fromkeys((name for name in ENCODER_PRESETS if name.startswith("dinov2-")), (224, 224, BICUBIC, IMAGENET)),
    **dict.fromkeys(("resnet50", "resnet50-trunc"), (224, 224, BILINEAR, IMAGENET)),
    "efficientnet-lite0-imagenet": (224, 224, BICUBIC, [(127 / 255,) * 3, (128 / 255,) * 3]),
}
presets = pytest.mark.parametrize("preset", ENCODER_PRESETS.values(), ids=lambda preset: preset.name)


@presets
def test_a_network_has_its_published_size_and_width(preset):
    """The meta device of torch computes shapes without allocating memory."""
    with torch.device("meta"):
        network = build_network(preset).eval()
        pixels = torch.empty(2, 3, preset.input_size, preset.input_size)
        features = EMBEDDINGS[preset.embedding](network, pixels)
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert features.shape == (2, preset.dim)
    if preset.parameters:
        assert millions == pytest.approx(preset.parameters, rel=0.02)


PREPROCESSING = ("resize", "input_size", "interpolation", "mean", "std")


class RecordsPixels(nn.Module):
    """Stand-in network that records its input."""

    def forward(self, pixels):
        self.pixels = pixels
        return pixels.flatten(1)[:, :1]


@presets
def test_preprocessing_agrees_with_pillow(preset):
    resize, crop, interpolation, (mean, std) = TRANSFORMS[preset.name]
    y, x = np.mgrid[:300, :300]
    tile = np.stack([x * 255 // 299, y * 255 // 299, (np.sin(x / 9) * np.cos(y / 7) + 1) * 127], -1).astype(np.uint8)
    margin = (resize - crop) // 2
    picture = Image.fromarray(tile).resize((resize, resize), interpolation)
    picture = picture.crop((margin, margin, margin + crop, margin + crop))
    expected = (np.asarray(picture) / 255 - mean) / std
    network = RecordsPixels()
    stand_in = Preset(preset.name, "stand-in", 1, **{name: getattr(preset, name) for name in PREPROCESSING})
    Encoder(network, stand_in, weights_fingerprint="w", device="cpu", precision="fp32")(tile[None])
    pixels = network.pixels[0].permute(1, 2, 0).numpy()
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 1.01 / 255 / min(std)  # Pillow rounds between rows and columns


@presets
def test_every_preset_has_a_license_a_page_a_paper_and_sources(preset):
    assert preset.license
    assert all(address.startswith("https://") for address in (preset.card, preset.paper, *preset.read_in))
    assert preset.read_in


def test_tiles_that_differ_from_training_are_reported():
    preset = Preset("p", "a", 3, tile_sizes=(224,), mpps=(0.5,))
    assert preset.mismatches(224, 0.52) == []
    assert len(preset.mismatches(256, 1.0)) == 2


@pytest.mark.parametrize(
    ("name", "hint"), [("efficientnet-lite0", "efficientnet-lite0-imagenet"), ("timm:resnet5O", "timm:resnet50")]
)
def test_the_error_for_an_unknown_encoder_suggests_a_similar_name(name, hint):
    with pytest.raises(EncoderError) as caught:
        find_preset(name)
    assert hint in caught.value.hint


def test_the_table_in_the_docs_is_up_to_date():
    spec = importlib.util.spec_from_file_location("render_encoders", DOCS / "render_encoders.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.table() in (DOCS / "encoders.md").read_text(encoding="utf-8"), "run docs/render_encoders.py"


def test_the_example_in_the_docs_is_the_example_file():
    shown = re.search(r"```python\n(.*?)```", (DOCS / "encoders.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    assert shown in (DOCS / "examples" / "own_encoder.py").read_text(encoding="utf-8")


QUICK = "h0-mini phikon hibou-b kaiko-vits8 lunit-vits16 plip ctranspath dinov2-base resnet50-trunc"


@pytest.mark.slow
@pytest.mark.parametrize("preset", [ENCODER_PRESETS[name] for name in QUICK.split()], ids=lambda preset: preset.name)
def test_full_size_networks_return_finite_features_for_any_batch_size(preset, tmp_path):
    """Uses random weights and networks that need only seconds on a CPU."""
    torch.manual_seed(0)
    path = tmp_path / "random.safetensors"
    save_file({name: value.clone() for name, value in build_network(preset).state_dict().items()}, path)
    encoder = load_encoder(preset, weights=path)
    tiles = np.random.default_rng(0).integers(0, 256, (2, preset.resize, preset.resize, 3), np.uint8)
    features = encoder(tiles)
    assert (features.shape, features.dtype) == ((2, preset.dim), np.float32)
    assert np.isfinite(features).all()
    assert features == pytest.approx(np.concatenate([encoder(tiles[:1]), encoder(tiles[1:])]), rel=1e-4, abs=1e-5)
