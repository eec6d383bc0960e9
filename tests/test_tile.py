"""The tile stage writes tables, outlines and images, records failed slides, and keeps finished work."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide, read_cohort
from pipelines.core.errors import ChangedSettingsError
from pipelines.core.resources import TileResources
from pipelines.core.schemas import TILES
from pipelines.core.selection import Selection
from pipelines.slides import open_slide
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.tile import TileInputs, tile
from tests.slide_files import destroy_tile, tissue_drawing, write_lossless_slide
from tests.tiling import SETTINGS, TISSUE, outcomes, rows_of


@pytest.fixture
def slide(tmp_path):
    write_lossless_slide(tmp_path / "slides" / "a.tif", TISSUE, 0.5)
    return CohortSlide("a", tmp_path / "slides" / "a.tif", patient_id="P1")


def test_the_kept_tiles_are_those_on_tissue(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    tiles = TILES.read(tmp_path / "out" / "a.parquet").to_pylist()
    kept = [(row["x"], row["y"]) for row in tiles if row["keep"]]
    assert kept == [(x, y) for y in range(112, 560, 112) for x in range(224, 784, 112)]
    assert all(row["tissue_fraction"] > 0.6 for row in tiles if row["keep"])
    assert all(row["reason"] for row in tiles if not row["keep"])


def test_the_slide_table_describes_the_result(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    row = rows_of(tmp_path / "out")["a"]
    expected = {
        "patient_id": "P1",
        "status": "ok",
        "n_tiles": 20,
        "width": 896,
        "height": 672,
        "mpp_x": 0.5,
        "mpp_source": "tiff-tags",
        "mpp_conflict": None,
        "vendor": "generic-tiff",
        "read_level": 0,
        "tile_size": 112,
        "effective_mpp": 0.5,
        "tile_size_level0": 112,
        "error": None,
    }
    assert {name: row[name] for name in expected} == expected
    noted = json.loads(TILES.notes(tmp_path / "out" / "a.parquet")["five.row"])
    assert noted == {name: row[name] for name in noted}


@pytest.mark.parametrize("mpp", [0.25, 0.263])
def test_tiles_do_not_depend_on_the_scan_resolution(tmp_path, mpp):
    """Only rounding differs: positions by half a level-0 pixel, and the effective mpp."""
    scale = 0.5 / mpp
    rgb = cv2.resize(TISSUE, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    path = write_lossless_slide(tmp_path / "a.tif", rgb, mpp, (1, 4))
    tile(TileInputs([CohortSlide("a", path)]), tmp_path / "out", SETTINGS)
    tiles = TILES.read(tmp_path / "out" / "a.parquet").to_pylist()
    kept = [(row["x"], row["y"]) for row in tiles if row["keep"]]
    expected = [(x * scale, y * scale) for y in range(112, 560, 112) for x in range(224, 784, 112)]
    assert np.abs(np.array(kept) - np.array(expected)).max() <= 0.5
    row = rows_of(tmp_path / "out")["a"]
    assert row["effective_mpp"] == pytest.approx(round(112 * scale) * mpp / 112, rel=1e-4)  # TIFF rounds mpp
    assert row["effective_mpp"] == pytest.approx(0.5, rel=0.003)


def test_outlines_and_overview_are_written(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    [feature] = json.loads((tmp_path / "out" / "tissue" / "a.geojson").read_text())["features"]
    corners = np.array(feature["geometry"]["coordinates"][0])
    assert np.abs(corners.min(axis=0) - (224, 112)).max() <= 32  # one thumbnail pixel
    assert np.abs(corners.max(axis=0) - (784, 560)).max() <= 32
    assert cv2.imread(str(tmp_path / "out" / "qc" / "a.jpg")) is not None


@pytest.mark.parametrize(
    "rgb",
    [tissue_drawing(400, 400, []), np.zeros((400, 400, 3), np.uint8), tissue_drawing(50, 60, [(0, 50, 0, 60)])],
    ids=["glass", "black", "smaller than a tile"],
)
def test_a_slide_without_tiles_is_recorded_as_empty_and_not_as_failed(tmp_path, rgb):
    path = write_lossless_slide(tmp_path / "a.tif", rgb, 0.5)
    assert outcomes(tile(TileInputs([CohortSlide("a", path)]), tmp_path / "out", SETTINGS)) == [Outcome.EMPTY]
    assert TILES.read(tmp_path / "out" / "a.parquet").num_rows == 0
    assert rows_of(tmp_path / "out")["a"]["status"] == "empty"
    assert outcomes(tile(TileInputs([CohortSlide("a", path)]), tmp_path / "out", SETTINGS)) == [Outcome.KEPT]


def test_failed_slides_are_recorded_and_the_others_are_tiled(slide, tmp_path):
    no_mpp = write_lossless_slide(tmp_path / "no_mpp.tif", TISSUE, None)
    coarse = write_lossless_slide(tmp_path / "coarse.tif", TISSUE, 1.0)
    (tmp_path / "text.svs").write_text("not a slide")
    slides = [
        CohortSlide("gone", tmp_path / "gone.svs"),
        CohortSlide("no_path"),
        CohortSlide("no_mpp", no_mpp),
        CohortSlide("absurd", no_mpp, mpp=250),
        CohortSlide("coarse", coarse),
        CohortSlide("text", tmp_path / "text.svs"),
        slide,
    ]
    out = tmp_path / "out"
    summary = tile(TileInputs(slides), out, SETTINGS)
    assert outcomes(summary) == [Outcome.FAILED] * 6 + [Outcome.DONE]
    errors = {name: row["error"] for name, row in rows_of(out).items()}
    assert "no_mpp.tif" in errors["no_mpp"]
    assert "--mpp" in errors["no_mpp"]
    assert "'mpp'" in errors["no_mpp"]
    assert "250" in errors["absurd"]
    assert "--target-mpp" in errors["coarse"]
    assert "'path'" in errors["no_path"]
    assert "gone.svs" in errors["gone"]
    assert errors["a"] is None
    assert [path.name for path in out.glob("*.parquet")].count("a.parquet") == 1
    assert sorted(path.name for path in out.glob("*.parquet")) == ["a.parquet", "slides.parquet"]


def test_the_cohort_or_the_flag_provides_a_missing_mpp(tmp_path):
    path = write_lossless_slide(tmp_path / "a.tif", TISSUE, None)
    slides = [CohortSlide("cohort", path, mpp=0.5), CohortSlide("flag", path)]
    tile(TileInputs(slides), tmp_path / "out", replace(SETTINGS, mpp=0.25))
    rows = rows_of(tmp_path / "out")
    assert [(rows[name]["mpp_x"], rows[name]["mpp_source"]) for name in ("cohort", "flag")] == [
        (0.5, "cohort"),
        (0.25, "flag"),
    ]


def test_an_mpp_conflict_is_recorded_and_shown_in_the_summary(slide, tmp_path):
    summary = tile(TileInputs([replace(slide, mpp=0.25)]), tmp_path / "out", SETTINGS)
    assert rows_of(tmp_path / "out")["a"]["mpp_conflict"] == "cohort 0.25, tiff-tags 0.5"
    assert summary.facts["conflicts_of_mpp"] == {"a": "cohort 0.25, tiff-tags 0.5"}


@pytest.mark.parametrize("slide_id", ["with space", "Schnitt-Ä-é-切片", "site/a/b", "007", "a.b.c", "[x] & y"])
def test_any_slide_id_can_be_a_file_name(slide, tmp_path, slide_id):
    tile(TileInputs([replace(slide, slide_id=slide_id)]), tmp_path / "out", SETTINGS)
    assert list(rows_of(tmp_path / "out")) == [slide_id]
    assert (tmp_path / "out" / f"{slide_id}.parquet").exists()
    assert (tmp_path / "out" / "tissue" / f"{slide_id}.geojson").exists()
    assert (tmp_path / "out" / "qc" / f"{slide_id}.jpg").exists()


def test_slides_with_the_same_name_in_two_folders_are_separate(tmp_path):
    write_lossless_slide(tmp_path / "slides" / "x" / "a.tif", TISSUE, 0.5)
    write_lossless_slide(tmp_path / "slides" / "y" / "a.tif", tissue_drawing(400, 400, []), 0.5)
    tile(TileInputs(read_cohort(tmp_path / "slides")), tmp_path / "out", SETTINGS)
    assert {name: row["n_tiles"] for name, row in rows_of(tmp_path / "out").items()} == {"x/a": 20, "y/a": 0}


def test_a_rerun_keeps_existing_files(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    first = (tmp_path / "out" / "a.parquet").read_bytes()
    assert outcomes(tile(TileInputs([slide]), tmp_path / "out", SETTINGS)) == [Outcome.KEPT]
    assert (tmp_path / "out" / "a.parquet").read_bytes() == first
    assert rows_of(tmp_path / "out")["a"]["n_tiles"] == 20


def test_a_changed_slide_file_is_tiled_again(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    write_lossless_slide(slide.path, tissue_drawing(672, 896, []), 0.5)
    assert outcomes(tile(TileInputs([slide]), tmp_path / "out", SETTINGS)) == [Outcome.EMPTY]


def test_a_slide_with_a_corrected_mpp_is_tiled_again(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    assert outcomes(tile(TileInputs([replace(slide, mpp=0.45)]), tmp_path / "out", SETTINGS)) == [Outcome.DONE]


def test_the_tiles_of_a_moved_slide_are_kept_and_its_path_is_updated(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    moved = slide.path.rename(tmp_path / "moved.tif")
    other = CohortSlide("a", moved, patient_id="P2")
    assert outcomes(tile(TileInputs([other]), tmp_path / "out", SETTINGS)) == [Outcome.KEPT]
    noted = json.loads(TILES.notes(tmp_path / "out" / "a.parquet")["five.row"])
    assert (noted["path"], noted["patient_id"]) == (str(moved), "P2")
    assert outcomes(tile(TileInputs([other]), tmp_path / "out", SETTINGS)) == [Outcome.KEPT]


def test_changed_settings_are_refused_without_overwrite(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    other = replace(SETTINGS, tile_size=224)
    with pytest.raises(ChangedSettingsError, match="tile_size 112 -> 224"):
        tile(TileInputs([slide]), tmp_path / "out", other)
    assert outcomes(tile(TileInputs([slide]), tmp_path / "out", other, selection=Selection(overwrite=True))) == [
        Outcome.DONE
    ]
    assert rows_of(tmp_path / "out")["a"]["tile_size"] == 224


def test_a_slide_that_fails_now_loses_its_outdated_table(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    slide.path.write_text("overwritten by accident")
    assert outcomes(tile(TileInputs([slide]), tmp_path / "out", SETTINGS)) == [Outcome.FAILED]
    assert not (tmp_path / "out" / "a.parquet").exists()


def test_slides_of_an_earlier_run_remain_in_the_table(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    tile(TileInputs([replace(slide, slide_id="b")]), tmp_path / "out", SETTINGS)
    assert list(rows_of(tmp_path / "out")) == ["a", "b"]


def test_keep_all_records_defects_but_keeps_the_tiles(tmp_path):
    rgb = TISSUE.copy()
    rgb[112:320, 224:448] = (20, 130, 70)  # green ink on four tiles
    path = write_lossless_slide(tmp_path / "a.tif", rgb, 0.5)
    for keep_all, kept in ((False, 16), (True, 20)):
        out = tmp_path / str(keep_all)
        tile(TileInputs([CohortSlide("a", path)]), out, replace(SETTINGS, keep_all=keep_all))
        tiles = TILES.read(out / "a.parquet").to_pylist()
        assert sum(row["keep"] for row in tiles) == kept
        assert sum(row["reason"] == "pen-green" for row in tiles) == 4
        assert not any(row["keep"] for row in tiles if row["reason"] == "background")


def test_unreadable_tiles_are_marked_and_not_treated_as_white(tmp_path):
    """The slide has one level; the last of its four stored tiles of 256 px is destroyed."""
    path = tmp_path / "a.svs"
    write_pyramidal_slide(path, tissue_drawing(500, 500, [(0, 500, 0, 500)]), 0.5)
    destroy_tile(path, 0, 3)
    settings = replace(SETTINGS, min_area_mm2=0.04)  # 0.05 mm2 of tissue remain
    assert outcomes(tile(TileInputs([CohortSlide("a", path)]), tmp_path / "out", settings)) == [Outcome.DONE]
    tiles = {(row["col"], row["row"]): row for row in TILES.read(tmp_path / "out" / "a.parquet").to_pylist()}
    for col in range(4):
        for row in range(4):
            unreadable = col >= 2 and row >= 2  # tiles start at 224 px, the destroyed stored tile at 256 px
            assert (tiles[col, row]["reason"] == "unreadable") == unreadable
            assert tiles[col, row]["keep"] != unreadable


def test_several_processes_write_the_same_files_as_one(slide, tmp_path):
    slides = [replace(slide, slide_id=name) for name in ("a", "b", "c")]
    one, two = tmp_path / "one", tmp_path / "two"
    tile(TileInputs(slides), one, SETTINGS)
    tile(TileInputs(slides), two, SETTINGS, resources=TileResources(workers=2))
    for name in ("a", "b", "c"):
        assert TILES.read(one / f"{name}.parquet").equals(TILES.read(two / f"{name}.parquet"))
        for picture in (f"qc/{name}.jpg", f"tissue/{name}.geojson"):
            assert (one / picture).read_bytes() == (two / picture).read_bytes()


def test_kept_tiles_can_be_read_at_their_recorded_size(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    row = rows_of(tmp_path / "out")["a"]
    first = next(tile_ for tile_ in TILES.read(tmp_path / "out" / "a.parquet").to_pylist() if tile_["keep"])
    with open_slide(row["path"], row["mpp_x"]) as opened:
        pixels = opened.read_tile(first["x"], first["y"], row["tile_size_level0"], row["tile_size"])
    assert np.array_equal(pixels, TISSUE[112:224, 224:336])


def test_a_given_mask_replaces_tissue_detection_and_an_edited_mask_is_noticed(slide, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    ring = [[224, 112], [448, 112], [448, 336], [224, 336], [224, 112]]  # 2 x 2 tiles
    write_ring(masks / "a.geojson", ring)
    other = replace(slide, slide_id="without mask")
    summary = tile(TileInputs([slide, other], masks=masks), tmp_path / "out", SETTINGS)
    assert [result.row["n_tiles"] for result in summary.results] == [4, 20]
    assert summary.facts["slides_with_mask"] == 1
    assert outcomes(tile(TileInputs([slide], masks=masks), tmp_path / "out", SETTINGS)) == [Outcome.KEPT]
    write_ring(masks / "a.geojson", [[224, 112], [336, 112], [336, 336], [224, 336], [224, 112]])
    [edited] = tile(TileInputs([slide], masks=masks), tmp_path / "out", SETTINGS).results
    assert (edited.outcome, edited.row["n_tiles"]) == (Outcome.DONE, 2)


def test_outlines_edited_in_the_output_folder_are_never_overwritten(slide, tmp_path):
    out = tmp_path / "out"
    tile(TileInputs([slide]), out, SETTINGS)
    drawn = out / "tissue" / "a.geojson"
    write_ring(drawn, [[230, 112], [448, 120], [440, 336], [224, 336], [230, 112]])
    before = drawn.read_bytes()
    use = {"inputs": TileInputs([slide], masks=out / "tissue"), "out": out, "settings": SETTINGS}
    assert outcomes(tile(**use, selection=Selection(overwrite=True))) == [Outcome.DONE]
    assert drawn.read_bytes() == before
    assert outcomes(tile(TileInputs([slide], masks=out / "tissue"), out, SETTINGS)) == [Outcome.KEPT]


def write_ring(path, ring):
    path.write_text(json.dumps([{"geometry": {"type": "Polygon", "coordinates": [ring]}}]))
