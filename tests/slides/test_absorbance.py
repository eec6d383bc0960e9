"""Stain, ink and folds are distinguished by color on hand-made pixels."""

import numpy as np
import pytest

from pipelines.slides.absorbance import TissueStain, color_masks, optical_density, tissue_stain

AVERAGE = TissueStain(blue_to_green=0.4, density=150, eosin=30)
MASKS = {"white", "black", "pen-blue", "pen-green", "pen-red", "fold"}


def masks_of(color, stain=AVERAGE):
    """Return the names of the masks that contain a pixel of ``color``."""
    masks = color_masks(np.full((2, 2, 3), color, np.uint8), stain)
    assert set(masks) == MASKS
    return {name for name, mask in masks.items() if mask.all()}


def over(color, film):
    """Return ``color`` as seen through a film of another color."""
    return np.rint(np.array(color) * np.array(film) / 255)


STAINS = {
    "eosin": (225, 150, 195),
    "hematoxylin": (110, 60, 150),
    "pale nuclei": (160, 130, 220),
    "dense nuclei": (90, 40, 120),
    "lilac": (150, 110, 190),
    "strong eosin": (235, 110, 150),
    "red cells": (194, 80, 155),
    "red cells on another scanner": (192, 86, 138),
}


@pytest.mark.parametrize("color", STAINS.values(), ids=STAINS)
def test_stain_is_neither_ink_nor_black(color):
    assert masks_of(color) <= {"fold"}


@pytest.mark.parametrize("color", [(140, 95, 60), (90, 60, 40), (180, 150, 110)], ids=["DAB", "melanin", "pale DAB"])
def test_brown_is_not_ink(color):
    assert not masks_of(color) & {"pen-blue", "pen-green", "pen-red"}


INKS = {
    "pen-blue": (45, 80, 200),
    "pen-green": (15, 110, 60),
    "pen-red": (200, 25, 40),
    "black": (30, 30, 32),
}


@pytest.mark.parametrize("ground", [(245, 245, 245), (225, 150, 195), (150, 110, 190)], ids=["glass", "pink", "lilac"])
@pytest.mark.parametrize("name", INKS)
def test_each_ink_is_recognized_on_glass_and_on_tissue(name, ground):
    assert masks_of(over(ground, INKS[name])) == {name}


@pytest.mark.parametrize("color", [(0, 0, 0), (3, 0, 8), (15, 15, 15)])
def test_opaque_pixels_are_black_whatever_their_hue(color):
    assert masks_of(color) == {"black"}


def test_glass_is_white():
    assert masks_of((242, 240, 243)) == {"white"}


def test_two_layers_of_tissue_are_a_fold_and_one_is_not():
    layer = (190, 100, 150)  # densities 0.29, 0.94, 0.53: together 1.76, eosin 0.64
    stain = TissueStain(blue_to_green=0.57, density=176, eosin=64)
    assert masks_of(layer, stain) == set()
    assert masks_of(over(layer, layer), stain) == {"fold"}


def test_dense_nuclei_are_not_a_fold():
    stain = TissueStain(blue_to_green=0.57, density=120, eosin=60)
    assert masks_of((85, 55, 95), stain) == set()  # densities 1.10, 1.53, 0.99: together 3.6, eosin 0.43


def test_density_is_the_negative_logarithm_of_the_transmission():
    density = optical_density(np.array([[[255, 94, 35]]], np.uint8))
    assert density.tolist() == [[[0, 100, 199]]]  # 255 / e = 93.8, 255 / e**2 = 34.5


def test_the_stain_of_a_slide_is_measured_without_glass_and_black():
    rgb = np.full((90, 90, 3), 243, np.uint8)
    rgb[:50] = (190, 100, 150)
    rgb[80:] = 10
    stain = tissue_stain(optical_density(rgb))
    assert stain.blue_to_green == pytest.approx(0.57, abs=0.01)
    assert stain.density == pytest.approx(176, abs=2)
    assert stain.eosin == pytest.approx(65, abs=2)


def test_tissue_of_two_stains_on_one_slide_is_not_ink():
    rgb = np.full((100, 100, 3), (150, 110, 220), np.uint8)  # absorbs blue a sixth as much as green
    rgb[:30] = (215, 105, 150)  # 60 % as much
    masks = color_masks(rgb)
    assert not any(masks[name].any() for name in INKS)


def test_a_little_red_ink_does_not_change_the_measured_stain():
    rgb = np.full((100, 100, 3), (150, 110, 190), np.uint8)
    rgb[:10] = over((150, 110, 190), INKS["pen-red"])
    assert color_masks(rgb)["pen-red"].mean() == pytest.approx(0.1)


@pytest.mark.parametrize("name", INKS)
def test_the_result_for_a_pixel_does_not_depend_on_its_position(name):
    rng = np.random.default_rng(0)
    colors = np.array([*STAINS.values(), *INKS.values(), (243, 243, 243)], np.uint8)
    index = rng.integers(len(colors), size=(40, 60))
    order = rng.permutation(index.size)
    straight = color_masks(colors[index], AVERAGE)[name]
    shuffled = color_masks(colors[index.ravel()[order].reshape(60, 40)], AVERAGE)[name]
    assert np.array_equal(straight.ravel()[order], shuffled.ravel())
