"""The stage `five embed`: features, file layout, reruns and errors."""

import shutil
import subprocess
import sys
from contextlib import contextmanager

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, ChangedSettingsError, EncoderError
from pipelines.core.feature_file import read_bag
from pipelines.core.resources import EmbedResources
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.core.settings import EmbedSettings
from pipelines.embed import EmbedInputs, embed, plan
from pipelines.encoders.preset import Preset
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.tile import TileInputs, tile
from tests.embedding import STAND_INS, TILING, TISSUE, kept_corners, use_stand_ins
from tests.slide_files import GLASS, destroy_tile, write_lossless_slide


@pytest.fixture
def mean_color(monkeypatch):
    use_stand_ins(monkeypatch)


@pytest.fixture
def tiles(tmp_path):
    write_lossless_slide(tmp_path / "slides/a.tif", TISSUE, 0.5)
    write_lossless_slide(tmp_path / "slides/blank.tif", np.full((512, 512, 3), GLASS, np.uint8), 0.5)
    (tmp_path / "slides/broken.svs").write_bytes(b"no slide")
    slides = [
        CohortSlide("d/a", tmp_path / "slides/a.tif", patient_id="P1"),
        CohortSlide("blank", tmp_path / "slides/blank.tif"),
        CohortSlide("broken", tmp_path / "slides/broken.svs"),
    ]
    tile(TileInputs(slides), tmp_path / "tiles", TILING)
    return tmp_path / "tiles"


def test_every_kept_tile_has_the_features_of_its_pixels(tiles, tmp_path, mean_color):
    embed(
        EmbedInputs(tiles),
        tmp_path / "features",
        EmbedSettings(dtype="float32"),
        resources=EmbedResources(batch_size=7),
    )
    bag = read_bag(tmp_path / "features/d/a.h5")
    assert [tuple(corner) for corner in bag.coords.tolist()] == kept_corners(tiles, "d/a")
    expected = [TISSUE[y : y + 112, x : x + 112].mean(axis=(0, 1)) for x, y in bag.coords.tolist()]
    assert bag.features == pytest.approx(np.array(expected), abs=0.51)


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (5, 3), (64, 2)])
def test_features_do_not_depend_on_batch_size_and_threads(tiles, tmp_path, mean_color, batch_size, workers):
    settings = EmbedSettings(dtype="float32")
    embed(EmbedInputs(tiles), tmp_path / "one", settings, resources=EmbedResources(workers=1, batch_size=16))
    embed(
        EmbedInputs(tiles), tmp_path / "two", settings, resources=EmbedResources(workers=workers, batch_size=batch_size)
    )
    one, two = (read_bag(tmp_path / name / "d/a.h5") for name in ("one", "two"))
    assert np.array_equal(one.features, two.features)
    assert np.array_equal(one.coords, two.coords)


def test_files_have_the_layout_that_other_tools_expect(tiles, tmp_path, mean_color):
    """TRIDENT and TITAN need attributes of `coords`; CLAM needs `features` and integer `coords`."""
    embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
    with h5py.File(tmp_path / "features/d/a.h5") as h5:
        attributes = dict(h5["coords"].attrs)
        assert h5["features"].dtype == np.float16
        assert h5["coords"].dtype == np.int64
        assert h5["features"].shape == (len(h5["coords"]), 3)
    assert attributes["patch_size"] == 112
    assert attributes["patch_size_level0"] == 112
    assert (attributes["level0_magnification"], attributes["target_magnification"]) == (20, 20)
    assert (attributes["level0_width"], attributes["level0_height"]) == (1280, 1024)
    assert attributes["overlap"] == 0
    assert attributes["name"] == "d/a"


def test_empty_slides_are_recorded_and_failed_slides_are_left_out(tiles, tmp_path, mean_color):
    summary = embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
    rows = {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(tmp_path / "features/slides.parquet")}
    assert {name: row["status"] for name, row in rows.items()} == {"d/a": "ok", "blank": "empty"}
    assert rows["d/a"]["patient_id"] == "P1"
    assert read_bag(tmp_path / "features/blank.h5").features.shape == (0, 3)
    assert summary.facts["slides_left_out"] == 1


def test_a_rerun_keeps_current_files_and_replaces_damaged_ones(tiles, tmp_path, mean_color):
    out = tmp_path / "features"
    embed(EmbedInputs(tiles), out, EmbedSettings())
    before = (out / "blank.h5").stat().st_mtime_ns
    (out / "d/a.h5").write_bytes((out / "d/a.h5").read_bytes()[:500])  # a damaged file
    summary = embed(EmbedInputs(tiles), out, EmbedSettings())
    outcomes = {result.item_id: result.outcome for result in summary.results}
    assert outcomes == {"d/a": Outcome.DONE, "blank": Outcome.KEPT}
    assert (out / "blank.h5").stat().st_mtime_ns == before
    assert len(read_bag(out / "d/a.h5").coords) == len(kept_corners(tiles, "d/a"))


def test_slides_that_another_process_locked_temporarily_are_embedded_later(tiles, tmp_path, mean_color, monkeypatch):
    """The other process releases a slide without embedding it, after this process has embedded the others."""
    write_lossless_slide(tmp_path / "slides/z.tif", TISSUE, 0.5)
    tile(TileInputs([CohortSlide("z", tmp_path / "slides/z.tif")]), tmp_path / "tiles", TILING)
    locked = {"d/a"}

    @contextmanager
    def item_lock(path, **_):
        yield not (path.name == "d__a.lock" and locked and locked.pop())

    monkeypatch.setattr("pipelines.core.batch.isolation.item_lock", item_lock)
    embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
    rows = {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(tmp_path / "features/slides.parquet")}
    assert rows["d/a"]["n_tiles"] == len(kept_corners(tiles, "d/a"))
    assert len(read_bag(tmp_path / "features/d/a.h5").features) == len(kept_corners(tiles, "d/a"))


def test_features_that_another_process_made_meanwhile_are_kept(tiles, tmp_path, mean_color, monkeypatch):
    out = tmp_path / "features"
    embed(EmbedInputs(tiles), tmp_path / "other", EmbedSettings())

    @contextmanager
    def item_lock(path, **_):
        (out / "d").mkdir(exist_ok=True)
        shutil.copy(tmp_path / "other/d/a.h5", out / "d/a.h5")  # made after this run checked the slide
        yield True

    monkeypatch.setattr("pipelines.core.batch.isolation.item_lock", item_lock)
    outcomes = {result.item_id: result.outcome for result in embed(EmbedInputs(tiles), out, EmbedSettings()).results}
    assert outcomes == {"d/a": Outcome.KEPT, "blank": Outcome.EMPTY}


def test_unreadable_tiles_are_counted_and_left_out(tiles, tmp_path, mean_color):
    destroyed = 1 * 5 + 2  # the stored tile of x 512..767, y 256..511
    destroy_jpeg_slide(tmp_path / "slides/a.tif", destroyed)
    tile(TileInputs([CohortSlide("d/a", tmp_path / "slides/a.tif")]), tiles, TILING)
    corners = kept_corners(tiles, "d/a")
    unreadable = [(x, y) for x, y in corners if x + 112 > 512 and x < 768 and y + 112 > 256 and y < 512]
    embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings(dtype="float32"))
    bag = read_bag(tmp_path / "features/d/a.h5")
    row = EMBEDDED_SLIDES.read_rows(tmp_path / "features/slides.parquet")[-1]
    assert unreadable
    assert row["n_unreadable"] == len(unreadable)
    assert not set(unreadable) & {tuple(corner) for corner in bag.coords.tolist()}
    assert len(bag.coords) == len(corners) - len(unreadable)


def destroy_jpeg_slide(path, index):
    """Replace the slide with a JPEG version in which one stored tile is destroyed."""
    from pipelines.synthetic.slide_file import write_pyramidal_slide

    path.unlink()
    write_pyramidal_slide(path, TISSUE, 0.5)
    destroy_tile(path, 0, index)


def test_a_folder_with_features_of_another_encoder_is_refused(tiles, tmp_path, mean_color):
    embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
    with pytest.raises(ChangedSettingsError, match="encoder"):
        embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings(encoder="timm:resnet50"))


def test_features_that_are_not_finite_fail_the_slide(tiles, tmp_path, mean_color, monkeypatch):
    monkeypatch.setattr(STAND_INS["mean-color"], "_color", lambda tiles: np.full((len(tiles), 3), np.nan))
    summary = embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
    assert [result.item_id for result in summary.failures] == ["d/a"]
    assert "not finite" in summary.failures[0].error
    assert not (tmp_path / "features/d/a.h5").exists()


def test_tiles_the_encoder_was_not_trained_on_need_allow_mismatch(tiles, tmp_path, monkeypatch):
    picky = Preset("picky", "test_resnet", 0, tile_sizes=(224,), mpps=(0.25,))
    monkeypatch.setattr("pipelines.encoders.feature_folder.find_preset", lambda name: picky)
    for stage in (embed, plan):  # both refuse before they look for weights
        with pytest.raises(EncoderError, match=r"trained for 224 px; tiles have 0\.5 microns per pixel") as caught:
            stage(EmbedInputs(tiles), tmp_path / "features", EmbedSettings())
        assert "--allow-mismatch" in caught.value.hint


def test_a_folder_without_tiles_names_the_command_to_run(tmp_path):
    with pytest.raises(ArtifactError) as caught:
        embed(EmbedInputs(tmp_path), tmp_path / "features", EmbedSettings())
    assert "five tile" in caught.value.hint


def test_the_list_of_encoders_is_shown():
    result = CliRunner().invoke(app, ["embed", "--list-encoders"])
    assert result.exit_code == 0
    assert all(f" {name} " in result.output for name in ENCODER_PRESETS)


def test_the_list_of_encoders_loads_no_torch():
    code = (
        "import sys; sys.argv = ['five', 'embed', '--list-encoders']\n"
        "from fivecli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_command_embeds_with_the_packaged_encoder(tiles, tmp_path):
    result = CliRunner().invoke(app, ["embed", str(tiles), "-o", str(tmp_path / "features")])
    assert result.exit_code == 0, result.output
    assert read_bag(tmp_path / "features/d/a.h5").features.shape == (len(kept_corners(tiles, "d/a")), 1280)
