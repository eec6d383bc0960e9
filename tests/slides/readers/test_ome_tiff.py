"""OME-TIFF files written by tifffile, with known pixels and microns per pixel."""

import numpy as np
import pytest
import tifffile

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.slides import open_slide

RGB = np.random.default_rng(0).integers(0, 256, (600, 500, 3), np.uint8)
SIZE = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
LAYOUTS = {
    "tiles": {"tile": (128, 64)},
    "tiles, one plane per color": {"tile": (128, 64), "planarconfig": "separate"},
    "strips": {"rowsperstrip": 50},
    "strips, one plane per color": {"rowsperstrip": 50, "planarconfig": "separate"},
    "one strip": {},
    "compressed tiles": {"tile": (128, 64), "compression": "zlib", "predictor": True},
}


def write_ome(path, rgb=RGB, *, levels=(2, 4), metadata=SIZE, **layout):
    """Write level 0 and sub-directories; each level takes every n-th pixel of the image."""
    planes = layout.get("planarconfig") == "separate"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for step in (1, *levels):
            level = np.ascontiguousarray(rgb[::step, ::step])
            first = {"subifds": len(levels), "metadata": metadata} if step == 1 else {"subfiletype": 1}
            tiff.write(np.moveaxis(level, 2, 0) if planes else level, photometric="rgb", **first, **layout)
    return path


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_level_has_its_pixels_and_is_white_outside_the_slide(tmp_path, layout):
    with open_slide(write_ome(tmp_path / "a.ome.tif", **layout)) as slide:
        assert slide.vendor == "ome-tiff"
        assert slide.level_dimensions == ((500, 600), (250, 300), (125, 150))
        assert slide.level_downsamples == (1, 2, 4)
        for level, step in enumerate((1, 2, 4)):
            whole = RGB[::step, ::step]
            region = slide.read_region(20 * step, 30 * step, level, (105, 120))
            assert np.array_equal(region, whole[30:150, 20:125])
            corner = slide.read_region(-4 * step, -5 * step, level, (10, 10))
            assert np.array_equal(corner[5:, 4:], whole[:5, :6])
            assert (corner[:5] == 255).all()
            beyond = slide.read_region((whole.shape[1] - 3) * step, (whole.shape[0] - 2) * step, level, (10, 10))
            assert np.array_equal(beyond[:2, :3], whole[-2:, -3:])
            assert (beyond[2:] == 255).all()
            assert (beyond[:, 3:] == 255).all()


@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [(0.25, "µm", 0.25), (250, "nm", 0.25), (0.00025, "mm", 0.25), (1e-5, "in", 0.254)],
    ids=["um", "nm", "mm", "inch"],
)
def test_microns_per_pixel_are_read_from_the_xml_in_any_unit(tmp_path, size, unit, mpp):
    metadata = {"PhysicalSizeX": size, "PhysicalSizeXUnit": unit, "PhysicalSizeY": size, "PhysicalSizeYUnit": unit}
    with open_slide(write_ome(tmp_path / "a.ome.tif", metadata=metadata, tile=(128, 128))) as slide:
        assert slide.mpp == pytest.approx((mpp, mpp))
        assert slide.micron_scale.source == "metadata"


def test_the_axes_may_have_different_microns_per_pixel(tmp_path):
    with open_slide(write_ome(tmp_path / "a.ome.tif", tile=(128, 128))) as slide:
        assert slide.mpp == (0.25, 0.5)


def test_without_a_physical_size_the_microns_per_pixel_are_missing(tmp_path):
    path = write_ome(tmp_path / "a.ome.tif", metadata={"PhysicalSizeXUnit": "pixel"}, tile=(128, 128))
    with open_slide(path) as slide, pytest.raises(MissingMppError):
        assert slide.mpp
    with open_slide(path, mpp=0.5) as slide:
        assert slide.mpp == (0.5, 0.5)


@pytest.mark.parametrize(
    ("pixels", "axes", "named"),
    [(RGB[..., 0], "YX", "YX"), (np.moveaxis(RGB, 2, 0).astype(np.uint16), "CYX", "CYX of uint16")],
    ids=["gray", "fluorescence"],
)
def test_an_image_that_is_not_rgb_is_refused_with_its_axes(tmp_path, pixels, axes, named):
    tifffile.imwrite(tmp_path / "a.ome.tif", pixels, ome=True, metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(SlideError, match=f"axes {named}.*not 8-bit RGB"):
        open_slide(tmp_path / "a.ome.tif")


def test_jpeg_tiles_are_read(tmp_path):
    pytest.importorskip("imagecodecs")
    smooth = np.broadcast_to(np.linspace(40, 220, 256, dtype=np.uint8)[:, None, None], (256, 256, 3))
    path = write_ome(tmp_path / "a.ome.tif", smooth, levels=(2,), tile=(128, 128), compression="jpeg")
    with open_slide(path) as slide:
        region = slide.read_region(10, 20, 0, (200, 200))
    assert np.abs(region.astype(int) - smooth[20:220, 10:210]).max() <= 3


def test_a_missing_decoder_package_is_named_in_the_error(tmp_path, monkeypatch):
    path = write_ome(tmp_path / "a.ome.tif", tile=(128, 128))

    def missing(*_arguments, **_options):
        raise ValueError("<COMPRESSION.JPEG: 7> requires the 'imagecodecs' package")

    with open_slide(path) as slide:
        monkeypatch.setattr(tifffile.TiffPage, "decode", missing)
        with pytest.raises(SlideError, match="imagecodecs") as raised:
            slide.read_region(0, 0, 0, (10, 10))
    assert "five-wsi[ome]" in raised.value.hint


@pytest.mark.parametrize("share", [0.0005, 0.1, 0.5, 0.761, 0.9, 0.999])
def test_a_truncated_file_is_a_slide_error(tmp_path, share):
    data = write_ome(tmp_path / "whole.ome.tif", tile=(128, 128)).read_bytes()
    (tmp_path / "cut.ome.tif").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SlideError):
        read_everything(tmp_path / "cut.ome.tif")


def read_everything(path):
    with open_slide(path, mpp=0.5) as slide:
        for level, size in enumerate(slide.level_dimensions):
            slide.read_region(0, 0, level, size)
