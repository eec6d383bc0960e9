"""The stand-in for a joint encoder finds tiles by texts, and is a complete encoder of our own."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipelines.core.errors import EncoderError
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_tower import load_text_tower
from tests.benchmarks.joint_standin import CaptionedTiles, ridge_map, write_standin

CAPTIONS = {"dots": ["a tumor with many dark nuclei", "carcinoma"], "stripes": ["normal fibers", "healthy stroma"]}


def draw(kind, rng):
    """Return a pink tile (224, 224, 3) with dark dots or with stripes."""
    tile = np.full((224, 224, 3), (230, 170, 200), np.int16) + rng.integers(-12, 13, 3, dtype=np.int16)
    y, x = np.mgrid[:224, :224]
    if kind == "stripes":
        tile[np.sin((x * rng.uniform(0.5, 1) + y * rng.uniform(0.5, 1)) / 6) > 0.5] -= 50
    else:
        for cx, cy in rng.integers(0, 224, (60, 2)):
            tile[(x - cx) ** 2 + (y - cy) ** 2 < 60] -= 90
    return tile.clip(0, 255).astype(np.uint8)


def drawn(number, rng):
    kinds = rng.choice(list(CAPTIONS), number)
    return kinds, np.stack([draw(kind, rng) for kind in kinds])


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    rng = np.random.default_rng(0)
    kinds, tiles = drawn(30, rng)
    features = load_encoder(ENCODER_PRESETS["efficientnet-lite0-imagenet"])(tiles)
    captions = [str(rng.choice(CAPTIONS[kind])) for kind in kinds]
    folder = tmp_path_factory.mktemp("standin")
    return write_standin(CaptionedTiles(features, captions, [str(number) for number in range(30)]), folder)


def test_texts_that_were_no_captions_find_new_tiles(standin):
    preset = find_preset(str(standin))
    encoder, tower = load_encoder(preset), load_text_tower(preset)
    kinds, tiles = drawn(24, np.random.default_rng(1))
    features = encoder(tiles)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    tumor, normal = tower(["malignant tumor cells", "normal tissue"])
    assert roc_auc_score(kinds == "dots", features @ (tumor - normal)) > 0.9
    assert tower.space == preset.space(encoder.fingerprint)
    assert 1 < tower.logit_scale <= 100


def test_numbers_of_another_stand_in_are_refused(standin):
    numbers = standin.with_suffix(".safetensors")
    kept = numbers.read_bytes()
    numbers.write_bytes(kept[:-4] + b"\0\0\0\0")
    with pytest.raises(EncoderError, match="is not the file that was written with"):
        load_encoder(find_preset(str(standin)))
    numbers.write_bytes(kept)


def test_the_ridge_map_solves_a_worked_example():
    """One feature of variance 1 and slope 2: a penalty as large as the data halves the slope."""
    features, targets = np.array([[0.0], [2.0]], np.float32), np.array([[1.0], [5.0]])
    assert ridge_map(features, targets, 0.0)[1] == pytest.approx(np.array([[2.0]]))
    mean, weights = ridge_map(features, targets, 1.0)
    assert (mean, weights) == (pytest.approx(np.array([1.0])), pytest.approx(np.array([[1.0]])))
