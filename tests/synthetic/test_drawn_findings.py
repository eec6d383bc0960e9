import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.synthetic.invasion import draw_tumor_in_air, draw_tumor_in_vessels
from pipelines.synthetic.necrosis import draw_necrosis
from pipelines.synthetic.stains import Canvas, Stain
from pipelines.synthetic.tissue import FINDINGS, draw_tissue

STAIN = Stain(haematoxylin=0.3, eosin=0.3, tint=(1, 1, 1), background=(245, 245, 245))


def drawn(growth, shown):
    return draw_tissue(np.random.default_rng(5), growth, 0.7, STAIN, shown)


@pytest.fixture(scope="module")
def bare():
    return drawn("nests", ())


@pytest.fixture(scope="module")
def full():
    return drawn("nests", FINDINGS)


def blank(height=260, width=300, eosin=100):
    canvas = Canvas.blank(width, height)
    canvas.eosin[:] = eosin
    return canvas


def changed(canvas, before):
    return (canvas.eosin != before.eosin) | (canvas.haematoxylin != before.haematoxylin)


def copy(canvas):
    return Canvas(canvas.haematoxylin.copy(), canvas.eosin.copy())


def disc(radius, height=260, width=300):
    y, x = np.mgrid[:height, :width]
    return np.hypot(x - width / 2, y - height / 2) < radius


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_has_a_mask_exactly_if_it_is_shown(bare, full, finding):
    assert not bare.masks[finding].any()
    assert full.masks[finding].sum() > 5000


def test_the_tissue_changes_inside_the_masks_and_nowhere_else(bare, full):
    difference = np.abs(bare.rgb.astype(int) - full.rgb).mean(axis=2)
    for finding in FINDINGS:
        assert difference[full.masks[finding]].mean() > 25, finding
    anywhere = np.logical_or.reduce([full.masks[finding] for finding in FINDINGS])
    apart = cv2.dilate(anywhere.view(np.uint8), np.ones((7, 7))) == 0  # the scanner's lens blurs
    assert difference[apart].max() < 12  # the amount of stain is that of the whole slide


def test_the_same_seed_draws_the_same_slide_and_masks(full):
    again = drawn("nests", FINDINGS)
    assert np.array_equal(again.rgb, full.rgb)
    assert set(again.masks) == set(full.masks)
    assert all(np.array_equal(mask, full.masks[name]) for name, mask in again.masks.items())


def test_tumor_replaces_air_and_blood(bare, full):
    air, vessels = full.masks["air_spaces"], full.masks["vascular_invasion"]
    assert np.median(bare.rgb[air], axis=0).min() > 235
    assert bare.rgb[vessels][:, 0].mean() > 220  # red blood cells and plasma let red light pass
    for mask in (air, vessels):
        assert full.rgb[mask][:, 0].mean() < 190  # nuclei do not


def test_necrosis_has_few_nuclei_and_the_tumor_round_it_has_many(full):
    dark = full.rgb[..., 0] < 150
    assert dark[full.masks["necrosis"]].mean() < 0.1
    assert dark[full.masks["nests"]].mean() > 0.25


def test_the_masks_of_a_growth_pattern_are_where_it_is_drawn(full):
    nests, pearls, necrosis = (full.masks[name] for name in ("nests", "keratin_pearls", "necrosis"))
    assert pearls.any()
    assert (pearls <= nests).all()
    assert not (nests & necrosis).any()
    red, green = full.rgb[..., 0].astype(int), full.rgb[..., 1].astype(int)
    assert (red - green)[pearls].mean() > (red - green)[nests & ~pearls].mean() + 15  # keratin is eosinophilic


def test_masks_are_within_the_tissue(full):
    stained = cv2.blur(full.rgb[..., 1], (129, 129)) < 240
    for name, mask in full.masks.items():
        assert mask.shape == full.rgb.shape[:2], name
        assert stained[mask].mean() > 0.95, name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(40, 120))
def test_tumor_in_air_covers_exactly_its_mask_and_lies_in_air(seed, radius):
    air, canvas = disc(radius), blank(eosin=0)
    before = copy(canvas)
    mask = draw_tumor_in_air(canvas, air, np.random.default_rng(seed))
    assert np.array_equal(changed(canvas, before), mask)
    assert mask.any()
    assert (mask & air).sum() > 0.8 * mask.sum()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    lumina=st.lists(st.tuples(st.floats(0, 299), st.floats(0, 259), st.floats(14, 70)), min_size=1, max_size=4),
)
def test_tumor_in_vessels_covers_exactly_its_mask_in_the_largest_vessels(seed, lumina):
    canvas = blank(eosin=1)
    before = copy(canvas)
    mask = draw_tumor_in_vessels(canvas, lumina, np.random.default_rng(seed))
    assert not (changed(canvas, before) & ~mask).any()
    x, y, _ = max(lumina, key=lambda lumen: lumen[2])
    assert mask[int(y), int(x)]
    n_groups, _ = cv2.connectedComponents(mask.view(np.uint8))
    assert n_groups - 1 <= max(1, round(0.6 * len(lumina)))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), radius=st.integers(0, 120))
def test_necrosis_changes_its_region_and_nothing_else(seed, radius):
    region, canvas = disc(radius), blank(eosin=255)
    before = copy(canvas)
    draw_necrosis(canvas, region, np.random.default_rng(seed))
    assert np.array_equal(changed(canvas, before), region)
