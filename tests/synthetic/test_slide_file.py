import numpy as np
import openslide
import pytest

from pipelines.synthetic.slide_file import drawing_of, write_pyramidal_slide


def quarters(width, height):
    """Return an image with a red, a green, a blue and a gray quarter."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2, : width // 2] = (200, 60, 60)
    rgb[: height // 2, width // 2 :] = (60, 180, 60)
    rgb[height // 2 :, : width // 2] = (60, 60, 200)
    rgb[height // 2 :, width // 2 :] = (128, 128, 128)
    return rgb


@pytest.fixture
def slide_path(tmp_path):
    path = tmp_path / "s.svs"
    write_pyramidal_slide(path, quarters(2100, 1300), 0.25, drawing="abc")
    return path


def test_openslide_reads_an_aperio_slide_with_its_size_and_mpp(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        assert slide.properties["openslide.vendor"] == "aperio"
        assert slide.dimensions == (2100, 1300)
        assert float(slide.properties["openslide.mpp-x"]) == 0.25
        assert float(slide.properties["openslide.mpp-y"]) == 0.25
        assert slide.properties["openslide.objective-power"] == "40"


def test_each_level_of_the_pyramid_is_four_times_smaller(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        assert slide.level_dimensions == ((2100, 1300), (525, 325))


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("x", "y", "color"),
    [(300, 200, (200, 60, 60)), (1500, 200, (60, 180, 60)), (300, 900, (60, 60, 200)), (2000, 1200, (128, 128, 128))],
    ids=["red", "green", "blue", "gray"],
)
def test_colors_are_kept_within_the_error_of_jpeg(slide_path, x, y, color, level):
    with openslide.OpenSlide(slide_path) as slide:
        region = np.asarray(slide.read_region((x, y), level, (16, 16)).convert("RGB"), int)
    assert np.abs(region - color).max() <= 4


def test_the_file_says_that_it_is_synthetic(slide_path):
    with openslide.OpenSlide(slide_path) as slide:
        assert "synthetic" in slide.properties["openslide.comment"]
        assert slide.properties["aperio.Synthetic"] == "yes"


def test_the_fingerprint_of_the_drawing_is_read_back(slide_path):
    assert drawing_of(slide_path) == "abc"


def test_other_files_have_no_fingerprint_of_a_drawing(tmp_path):
    other = tmp_path / "notes.svs"
    other.write_text("not a slide")
    assert drawing_of(other) is None
    assert drawing_of(tmp_path / "missing.svs") is None


def test_a_slide_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="not enough values"):
        write_pyramidal_slide(tmp_path / "s.svs", np.zeros(300, np.uint8), 0.5)
    assert list(tmp_path.iterdir()) == []
