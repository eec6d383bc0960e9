"""Opening slides, plain images, and files that are neither."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipelines.core.errors import SlideError
from pipelines.slides import open_slide
from pipelines.slides.pixels import over_white
from tests.slide_files import write_lossless_slide
from tests.slides.png_files import png_header

RGB = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)


def test_transparent_pixels_are_composited_over_white():
    rgba = np.array([[[100, 0, 200, 255], [100, 0, 200, 0], [100, 0, 200, 51]]], np.uint8)  # 51 is 20 % opacity
    assert over_white(rgba).tolist() == [[[100, 0, 200], [255, 255, 255], [224, 204, 244]]]


def test_a_plain_image_has_its_own_pixels_and_is_white_outside(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png", mpp=0.5) as slide:
        assert slide.dimensions == (100, 60)
        assert slide.vendor == "image"
        region = slide.read_region(90, -5, 0, (20, 20))
    assert np.array_equal(region[5:, :10], RGB[:15, 90:])
    assert (region[:5] == 255).all()
    assert (region[:, 10:] == 255).all()


def test_a_plausible_resolution_of_an_image_is_used(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif", resolution=50_800, resolution_unit=2)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("mode", ["L", "I;16"], ids=["8-bit gray", "16-bit gray"])
def test_a_gray_image_is_refused(tmp_path, mode):
    kind = np.uint8 if mode == "L" else np.uint16
    Image.fromarray(RGB[..., 0].astype(kind)).save(tmp_path / "a.png")
    with pytest.raises(SlideError, match="not 8-bit RGB"):
        open_slide(tmp_path / "a.png")


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SlideError, match=r"gone\.svs: no such file"):
        open_slide(tmp_path / "gone.svs")


@pytest.mark.parametrize("content", [b"", b"not a slide at all"], ids=["empty", "text"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path, content):
    (tmp_path / "a.svs").write_bytes(content)
    with pytest.raises(SlideError, match=r"a\.svs: not a slide"):
        open_slide(tmp_path / "a.svs")


def test_a_truncated_image_fails_when_it_is_read(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    with open_slide(tmp_path / "cut.png", mpp=0.5) as slide, pytest.raises(SlideError, match="cannot be decoded"):
        slide.read_region(0, 0, 0, (10, 10))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 0.999])
def test_a_truncated_slide_is_a_slide_error(tmp_path, share):
    whole = write_lossless_slide(tmp_path / "whole.tif", np.tile(RGB, (10, 10, 1)), 0.5, (1, 4))
    data = whole.read_bytes()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SlideError):
        _read_everything(cut)


def _read_everything(path):
    with open_slide(path) as slide:
        for level, (width, height) in enumerate(slide.level_dimensions):
            for y in range(0, height, 256):
                for x in range(0, width, 256):
                    downsample = round(slide.level_downsamples[level])
                    slide.read_region(x * downsample, y * downsample, level, (256, 256))


def test_a_tiff_without_its_last_levels_is_refused(tmp_path):
    """OpenSlide cannot open such a file, but its first level alone would be a valid plain image."""
    whole = write_lossless_slide(tmp_path / "whole.tif", np.tile(RGB, (10, 10, 1)), 0.5, (1, 4))
    with tifffile.TiffFile(whole) as tiff:
        cut_at = tiff.pages[1].offset
    (tmp_path / "cut.tif").write_bytes(whole.read_bytes()[:cut_at])
    with pytest.raises(SlideError, match="ends before its last level"):
        open_slide(tmp_path / "cut.tif")


@pytest.mark.parametrize(("width", "height"), [(200_000, 200_000), (2**31 - 1, 1), (20_000, 10_000)])
def test_an_image_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, width, height):
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(SlideError, match="too large for a plain image") as caught:
        open_slide(tmp_path / "a.png", mpp=0.5)
    assert "copy it again" in caught.value.hint
    assert "pyramidal tiled TIFF" in caught.value.hint


@pytest.mark.parametrize("kind", ["EPS", "PDF", "GIF", "WEBP", "BMP"])
def test_other_formats_are_refused_whatever_the_file_is_called(tmp_path, kind):
    """For EPS, Pillow would start Ghostscript."""
    with (tmp_path / "a.png").open("wb") as stream:
        Image.fromarray(RGB).save(stream, format=kind)
    with pytest.raises(SlideError, match="not an image"):
        open_slide(tmp_path / "a.png", mpp=0.5)
