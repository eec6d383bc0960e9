import cv2
import matplotlib as mpl
import numpy as np
import pytest

from pipelines.findings.heatmap import COLOR_MAP, OPACITY, draw_heatmap, paint, ranks

COLOR_OF = {rank: np.round(np.array(mpl.colormaps[COLOR_MAP](rank)[:3]) * 255) for rank in (0.0, 0.25, 0.5, 1.0)}


def test_ranks_run_from_0_to_1_and_equal_scores_share_their_mean():
    assert ranks(np.array([5.0, 1.0, 7.0, 5.0, 0.0])).tolist() == [0.625, 0.25, 1.0, 0.625, 0.0]


def test_ranks_do_not_depend_on_the_scale_of_the_scores():
    scores = np.random.default_rng(0).random(50)
    assert ranks(scores).tolist() == ranks(np.exp(100 * scores)).tolist()


@pytest.mark.parametrize("scores", [[3.0, 3.0, 3.0], [3.0]])
def test_equal_scores_all_have_rank_one_half(scores):
    assert ranks(np.array(scores)).tolist() == [0.5] * len(scores)


def test_nan_scores_have_nan_ranks():
    assert np.array_equal(ranks(np.array([np.nan, 2.0, 1.0])), [np.nan, 1.0, 0.0], equal_nan=True)


def test_a_tile_colors_its_square_and_nothing_else():
    canvas = np.full((20, 30, 3), 255, np.uint8)
    painted = paint(canvas, np.array([[10.0, 5.0]]), 4.0, np.array([1.0]), over_tissue=False)
    square = np.zeros((20, 30), bool)
    square[5:9, 10:14] = True
    assert (painted[square] == COLOR_OF[1.0]).all()
    assert (painted[~square] == 255).all()
    assert (canvas == 255).all()


def test_overlapping_tiles_show_the_mean_of_their_values():
    canvas = np.full((4, 12, 3), 255, np.uint8)
    corners = np.array([[0.0, 0.0], [4.0, 0.0]])
    painted = paint(canvas, corners, 8.0, np.array([0.0, 0.5]), over_tissue=False)
    for x, value in ((1, 0.0), (5, 0.25), (10, 0.5)):
        assert painted[2, x].tolist() == COLOR_OF[value].tolist()


def test_tissue_stays_visible_in_gray():
    canvas = np.full((4, 4, 3), (200, 100, 150), np.uint8)
    painted = paint(canvas, np.zeros((1, 2)), 4.0, np.array([1.0]), over_tissue=True)
    expected = OPACITY * np.array(mpl.colormaps[COLOR_MAP](1.0)[:3]) * 255 + (1 - OPACITY) * 150
    assert painted[0, 0] == pytest.approx(expected, abs=0.51)


def test_tiles_smaller_than_a_pixel_or_across_the_edge_are_drawn():
    canvas = np.full((4, 4, 3), 255, np.uint8)
    painted = paint(canvas, np.array([[0.0, 0.0], [3.2, 3.2]]), 0.1, np.array([1.0, 0.0]), over_tissue=False)
    assert painted[0, 0].tolist() == COLOR_OF[1.0].tolist()
    assert painted[3, 3].tolist() == COLOR_OF[0.0].tolist()


def pixels_near(image, color, tolerance=24):
    """Return the (x, y) center of the pixels close to an RGB color, and their number."""
    near = (np.abs(image.astype(int) - color) <= tolerance).all(axis=2)
    ys, xs = np.nonzero(near)
    return (xs.mean(), ys.mean()), len(xs)


def test_the_image_shows_tiles_at_their_position(tmp_path):
    """Draw two tiles that are far apart: the high score at the bottom left, the low score at the top right."""
    coords = np.array([[1000, 9000], [9000, 1000]])
    path = tmp_path / "nested" / "slide.png"
    draw_heatmap(coords, np.array([2.0, 1.0]), 1000, (12000, 12000), path)
    image = cv2.imread(str(path))[:, :-150, ::-1]  # without the color bar
    (high_x, high_y), high = pixels_near(image, COLOR_OF[1.0])
    (low_x, low_y), low = pixels_near(image, COLOR_OF[0.0])
    assert high_x < low_x
    assert high_y > low_y
    assert high == pytest.approx(low, rel=0.1)


def test_the_thumbnail_is_cropped_to_the_part_with_tiles(tmp_path):
    """Draw over a thumbnail that is green under the tiles and black elsewhere: no black is visible."""
    thumbnail = np.zeros((100, 200, 3), np.uint8)
    thumbnail[40:90, 80:190] = (0, 160, 0)
    coords = np.array([[10000, 5000], [17000, 7000]])
    draw_heatmap(coords, np.array([0.0, 1.0]), 1000, (20000, 10000), tmp_path / "a.png", thumbnail=thumbnail)
    image = cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1]
    _, green = pixels_near(image, (0, 160, 0))
    assert green > 0.3 * image.shape[0] * image.shape[1]
    assert (image[: image.shape[0] // 2, : image.shape[1] // 2].sum(axis=2) > 60).all()


def test_names_of_maps_may_contain_special_characters(tmp_path):
    scores = np.random.default_rng(0).random((7, 4))
    coords = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    names = ["$x", "50 % {a}", "<b>", "naïve", "e", "f", "g"]
    draw_heatmap(coords, scores, 10, (20, 20), tmp_path / "a.jpg", title="$1", names=names)
    assert cv2.imread(str(tmp_path / "a.jpg")) is not None


def test_a_slide_without_tiles_gives_an_empty_image(tmp_path):
    draw_heatmap(np.zeros((0, 2), int), np.zeros(0), 10, (200, 100), tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")) is not None
