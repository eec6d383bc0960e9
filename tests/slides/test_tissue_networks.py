"""Tissue detection by networks: windows, resolution and weights, with a network of known output and the real ones."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SettingsError
from pipelines.core.settings import TileSettings
from pipelines.slides import open_slide
from pipelines.slides.tissue_networks import MEAN, NETWORKS, STD, TissueNetwork, load_tissue_network, network_mask
from pipelines.tile import TileInputs, tile
from tests.slide_files import tissue_drawing, write_lossless_slide

TISSUE = [(256, 1536, 512, 1792)]  # top, bottom, left, right


class Pinkness(torch.nn.Module):
    """Predicts class ``tissue`` where the green channel is below 200 (0 to 255): drawn tissue, but not drawn glass."""

    def __init__(self, tissue=1):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.layer.weight.zero_()
            self.layer.bias.zero_()
            self.layer.weight[tissue, 1] = -STD[1]
            self.layer.bias[tissue] = 200 / 255 - MEAN[1]

    def forward(self, pixels):
        assert pixels.shape[1:] == (3, 512, 512)
        return self.layer(pixels)


def network(mpp, tissue=1, **options):
    return TissueNetwork(lambda: Pinkness(tissue), mpp, tissue, **options)


@pytest.fixture
def slide_path(tmp_path):
    return write_lossless_slide(tmp_path / "a.tif", tissue_drawing(2000, 2304, TISSUE), 0.5, (1, 4))


@pytest.mark.parametrize("tissue", [0, 1])
@pytest.mark.parametrize("mpp", [1.0, 2.0, 10.0])
def test_the_mask_is_the_output_of_the_network_at_any_resolution(slide_path, mpp, tissue):
    net = network(mpp, tissue)
    with open_slide(slide_path) as slide:
        thumbnail = slide.thumbnail(8.0)  # 16 level-0 pixels
        mask = network_mask(slide, thumbnail, net, net.build(), min_area_mm2=0)
    expected = np.zeros((125, 144), bool)
    expected[16:96, 32:112] = True
    assert mask.shape == expected.shape
    wrong = np.argwhere(mask != expected)
    edges = np.minimum(abs(wrong[:, :1] - [15.5, 95.5]).min(axis=1), abs(wrong[:, 1:] - [31.5, 111.5]).min(axis=1))
    assert (edges <= (1 if mpp < 10 else 2)).all()  # an input pixel of the network is up to 10 um wide


def test_jpeg_compression_of_the_input_changes_the_mask_only_slightly(slide_path):
    with open_slide(slide_path) as slide:
        thumbnail = slide.thumbnail(8.0)
        plain, compressed = (
            network_mask(slide, thumbnail, net, net.build(), min_area_mm2=0)
            for net in (network(2.0), network(2.0, jpeg_quality=80))
        )
    assert 0 < (plain ^ compressed).mean() + plain.mean() < 1
    assert (plain ^ compressed).mean() < 0.02


def test_small_pieces_are_removed_and_a_dark_slide_has_no_tissue(tmp_path):
    drawing = tissue_drawing(1024, 1024, [(0, 512, 0, 512), (800, 864, 800, 864)])
    for name, rgb in (("pieces", drawing), ("dark", 255 - drawing)):
        write_lossless_slide(tmp_path / f"{name}.tif", np.ascontiguousarray(rgb // (1 if name == "pieces" else 8)), 0.5)
    net = network(2.0)
    for name, n_true in (("pieces", 32 * 32), ("dark", 0)):
        with open_slide(tmp_path / f"{name}.tif") as slide:
            mask = network_mask(slide, slide.thumbnail(8.0), net, net.build(), min_area_mm2=0.05)
        assert mask.sum() == pytest.approx(n_true, rel=0.08)


@pytest.fixture(params=NETWORKS)
def published_network(request):
    """Return the name and random weights of each published network."""
    if request.param == "grandqc":
        pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    return request.param, NETWORKS[request.param].build().state_dict()


@pytest.mark.slow
def test_the_published_networks_give_a_mask(published_network, tmp_path):
    name, state = published_network
    save_file(state, tmp_path / "w.safetensors")
    path = write_lossless_slide(tmp_path / "a.tif", tissue_drawing(500, 500, [(0, 500, 0, 500)]), 0.5)
    with open_slide(path) as slide:
        thumbnail = slide.thumbnail(16.0)
        mask = network_mask(
            slide, thumbnail, NETWORKS[name], load_tissue_network(name, tmp_path / "w.safetensors"), min_area_mm2=0
        )
    assert mask.shape == (16, 16)


@pytest.mark.slow
def test_a_training_checkpoint_can_be_loaded(published_network, tmp_path):
    """Lightning checkpoints prefix the names of tensors and contain a head that only training uses."""
    name, state = published_network
    named = {f"model.{key}": value for key, value in state.items()} | {"model.aux_classifier.0.bias": torch.zeros(3)}
    torch.save({"epoch": 3, "state_dict": named}, tmp_path / "w.ckpt")
    module = load_tissue_network(name, tmp_path / "w.ckpt")
    assert all(torch.equal(module.state_dict()[key], value) for key, value in state.items())
    assert not module.training


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Replace the network 'hest' by one with known output, and return a file with its weights."""
    monkeypatch.setitem(NETWORKS, "hest", network(2.0))
    load_tissue_network.cache_clear()
    save_file(Pinkness().state_dict(), tmp_path / "tiny.safetensors")
    yield tmp_path / "tiny.safetensors"
    load_tissue_network.cache_clear()


@pytest.mark.parametrize("wrong", ["shape", "names", "text", "junk", "pickle"])
def test_wrong_weights_are_an_error_before_any_slide_is_read(tiny, tmp_path, wrong):
    path = tmp_path / "wrong.pth"
    state = Pinkness().state_dict()
    if wrong == "shape":
        torch.save({**state, "layer.bias": torch.zeros(3)}, path)
    elif wrong == "names":
        torch.save({"state_dict": {"other": torch.zeros(1)}}, path)
    elif wrong == "text":
        path.write_text("not weights")
    elif wrong == "junk":
        path.write_text("junk\n")  # its first letter makes the unpickler look up a missing entry: KeyError
    else:
        torch.save(TileSettings(), path)  # an object that only unsafe unpickling could load
    with pytest.raises(SettingsError, match=r"wrong\.pth"):
        tile(TileInputs([CohortSlide("a", tmp_path / "a.tif")], tissue_weights=path), tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


SETTINGS = TileSettings(tile_size=128, tissue_method="hest", tissue_mpp=8)


def test_the_stage_uses_the_mask_of_the_network_and_notices_other_weights(tiny, slide_path, tmp_path):
    out, slides = tmp_path / "out", [CohortSlide("a", slide_path)]
    summary = tile(TileInputs(slides, tissue_weights=tiny), out, SETTINGS)
    assert summary.facts["tiles"] == 100  # 1280 x 1280 px in tiles of 128
    assert tile(TileInputs(slides, tissue_weights=tiny), out, SETTINGS).counts["kept"] == 1
    blind = Pinkness().state_dict() | {"layer.bias": torch.tensor([9.0, 0.0])}
    save_file(blind, tmp_path / "blind.safetensors")
    assert tile(TileInputs(slides, tissue_weights=tmp_path / "blind.safetensors"), out, SETTINGS).counts["empty"] == 1


@pytest.mark.parametrize(("method", "given"), [("hest", False), ("otsu", True)])
def test_weights_that_do_not_match_the_method_are_refused(tiny, tmp_path, method, given):
    settings = TileSettings(tissue_method=method)
    with pytest.raises(SettingsError, match=f"--tissue-method {method}"):
        tile(TileInputs([], tissue_weights=tiny if given else None), tmp_path / "out", settings)
