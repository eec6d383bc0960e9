"""The example encoder without weights, compared with independently computed values."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import EncoderError
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "texture_encoder.py"
STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11]])
MOMENTS, PATTERNS = 11, 10  # per stain and size; the two means come first


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(find_preset(str(EXAMPLE)))


@pytest.fixture
def tile():
    """Return an 8-bit RGB tile with structure at all sizes."""
    random = np.random.default_rng(0)
    noise = sum(np.kron(random.random((224 // s, 224 // s, 2)), np.ones((s, s, 1))) for s in (1, 2, 8, 28)) / 4
    return stained(noise)


def stained(amounts):
    """Return the tile (224, 224, 3) with the given amounts (224, 224, 2) of hematoxylin and eosin."""
    return (256 * np.exp(-amounts @ STAINS) - 1).clip(0, 255).round().astype(np.uint8)


def moments_and_patterns(features):
    """Return moments (4, 2, 11) and shares of patterns (4, 2, 10), by size and stain."""
    both = features[2:].reshape(4, 2, MOMENTS + PATTERNS)
    return both[..., :MOMENTS], both[..., MOMENTS:] ** 2


def test_a_uniform_tile_has_its_stain_amounts_and_no_texture(encoder):
    (features,) = encoder(stained(np.full((224, 224, 2), (0.6, 0.3)))[None])
    moments, shares = moments_and_patterns(features)
    assert features[:2] == pytest.approx([0.6, 0.3], abs=0.01)
    assert moments == pytest.approx(np.zeros_like(moments), abs=1e-4)
    assert shares[..., 8] == pytest.approx(np.ones((4, 2)))  # all points on the circle are as dark as its center


def test_moments_equal_those_of_the_stain_amounts(encoder):
    amounts = np.full((224, 224, 2), (0.2, 0.4))
    amounts[:, :56, 0] = 1.0  # a quarter
    (features,) = encoder(stained(amounts)[None])
    spread, skewness = moments_and_patterns(features)[0][0, 0, :2]
    assert features[:2] == pytest.approx([0.4, 0.4], abs=0.01)
    assert spread == pytest.approx(0.8 * np.sqrt(1 / 4 * 3 / 4), abs=0.01)
    assert skewness == pytest.approx((1 / 4 * 0.6**3 - 3 / 4 * 0.2**3) ** (1 / 3), abs=0.01)


@pytest.mark.parametrize(("wavelength", "size"), [(4, 0), (8, 1), (16, 2), (32, 3)])
def test_waves_of_one_stain_dominate_at_the_size_that_matches_their_wavelength(encoder, wavelength, size):
    amounts = np.full((224, 224, 2), 0.5)
    amounts[..., 0] += 0.2 * np.cos(2 * np.pi * np.arange(224) / wavelength)
    moments, _ = moments_and_patterns(encoder(stained(amounts)[None])[0])
    strength, dominance = moments[:, 0, 2], moments[:, 0, 5]
    assert strength.argmax() == dominance.argmax() == size
    assert moments[size, 1, 2] < 0.1 * strength[size]  # eosin is uniform


def test_dark_spots_are_distinguished_from_pale_spots(encoder):
    y, x = np.mgrid[:224, :224] % 16 - 8
    spots = np.stack([0.5 * (np.hypot(y, x) < 2.5), np.zeros((224, 224))], axis=2)
    dark, pale = encoder(np.stack([stained(0.3 + spots), stained(0.8 - spots)]))
    (spread, skewness), (pale_spread, pale_skewness) = (moments_and_patterns(f)[0][0, 0, 9:11] for f in (dark, pale))
    assert spread > 1.5 * pale_spread
    assert skewness > 1.5 * pale_skewness


def between_pixels(picture, y, x):
    """Return bilinear values of ``picture`` at fractional rows and columns before its last row and column."""
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, right = y - top, x - left
    upper = picture[top, left] * (1 - right) + picture[top, left + 1] * right
    lower = picture[top + 1, left] * (1 - right) + picture[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def test_patterns_equal_those_of_a_simple_loop(encoder, tile):
    density = -np.log((tile + 1.0) / 256)
    y, x = np.mgrid[1:223, 1:223]
    for stain, amount in enumerate(np.moveaxis(density @ np.linalg.pinv(STAINS), 2, 0)):
        angles = 2 * np.pi * np.arange(8) / 8
        padded = np.pad(amount, (0, 1))  # the padding has weight 0
        circle = [between_pixels(padded, y + np.sin(a), x + np.cos(a)) for a in angles]
        above = np.array(circle) - amount[1:223, 1:223] >= -1e-3
        changes = sum(above[k] ^ above[k - 1] for k in range(8))
        pattern = np.where(changes <= 2, above.sum(axis=0), 9)
        expected = np.bincount(pattern.ravel(), minlength=10) / pattern.size
        assert moments_and_patterns(encoder(tile[None])[0])[1][0, stain] == pytest.approx(expected, abs=1e-4)


def test_features_are_invariant_to_rotation_and_reflection(encoder, tile):
    variants = [np.rot90(t, k) for t in (tile, tile[:, ::-1]) for k in range(4)]
    features = encoder(np.stack(variants))
    assert features == pytest.approx(np.broadcast_to(features[0], features.shape), abs=1e-3)


def test_lower_precision_is_not_used(encoder, tile):
    bf16 = load_encoder(find_preset(str(EXAMPLE)), precision="bf16")
    assert bf16(tile[None]) == pytest.approx(encoder(tile[None]), abs=1e-6)


def test_black_and_white_tiles_have_finite_features(encoder):
    assert np.isfinite(encoder(np.stack([np.full((224, 224, 3), v, np.uint8) for v in (0, 255)]))).all()


def test_weights_are_refused(tmp_path):
    (tmp_path / "some.pth").write_bytes(b"")
    with pytest.raises(EncoderError, match="leave --weights out"):
        load_encoder(find_preset(str(EXAMPLE)), weights=tmp_path / "some.pth")
