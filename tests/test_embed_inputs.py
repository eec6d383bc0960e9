"""`five embed` uses the slide that was tiled, and features follow the tiles."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide
from pipelines.core.feature_file import read_header
from pipelines.core.schemas import EMBEDDED_SLIDES, TILED_SLIDES, TILES
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import EmbedSettings, PictureSettings
from pipelines.embed import EmbedInputs, embed
from pipelines.tile import TileInputs, tile
from tests.embedding import TILING, TISSUE, tile_slides, use_stand_ins
from tests.slide_files import GLASS, write_lossless_slide


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    use_stand_ins(monkeypatch)


@pytest.fixture
def tiles(tmp_path):
    return tile_slides(tmp_path, ["a", "b"])


def slides_in(tmp_path, *names):
    return [CohortSlide(name, tmp_path / f"slides/{name}.tif") for name in names]


def rows_of(out):
    return {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(out / "slides.parquet")}


def outcomes(summary):
    return [result.outcome for result in summary.results]


def run(tiles, out, **options):
    return embed(EmbedInputs(tiles), out, EmbedSettings(), **options)


@pytest.mark.parametrize("pictures", [None, PictureSettings("jpg")], ids=["features", "features and pictures"])
def test_a_slide_that_changed_since_it_was_tiled_fails_and_the_others_are_embedded(tiles, tmp_path, pictures):
    write_lossless_slide(tmp_path / "slides/a.tif", 255 - TISSUE, 0.5)
    summary = run(tiles, tmp_path / "out", pictures=pictures)
    assert outcomes(summary) == [Outcome.FAILED, Outcome.DONE]
    assert summary.failures[0].error == (f"{tmp_path}/slides/a.tif: changed since it was tiled (run `five tile` again)")
    assert not (tmp_path / "out/a.h5").exists()
    tile(TileInputs(slides_in(tmp_path, "a", "b")), tiles, TILING)
    assert run(tiles, tmp_path / "out").failures == []


def test_a_slide_that_was_deleted_since_it_was_tiled_fails(tiles, tmp_path):
    (tmp_path / "slides/a.tif").unlink()
    summary = run(tiles, tmp_path / "out")
    assert outcomes(summary) == [Outcome.FAILED, Outcome.DONE]
    assert f"{tmp_path}/slides/a.tif: cannot be read: No such file" in summary.failures[0].error


def test_features_are_kept_if_the_same_slide_is_tiled_again_later_elsewhere_or_by_another_patient(tiles, tmp_path):
    out = tmp_path / "out"
    run(tiles, out)
    before = (out / "a.h5").read_bytes()
    shutil.copytree(tmp_path / "slides", tmp_path / "moved")
    moved = [replace(slide, path=tmp_path / f"moved/{slide.slide_id}.tif") for slide in slides_in(tmp_path, "a", "b")]
    os.utime(moved[0].path, (0, 0))
    tile(TileInputs([replace(slide, patient_id="P") for slide in moved]), tmp_path / "again", TILING)
    assert outcomes(run(tmp_path / "again", out)) == [Outcome.KEPT] * 2
    assert (out / "a.h5").read_bytes() == before
    assert rows_of(out)["a"]["patient_id"] == "P"
    (tiles / "a.parquet").write_bytes(b"damaged")
    tile(TileInputs(slides_in(tmp_path, "a", "b")), tiles, TILING)
    assert outcomes(run(tiles, out)) == [Outcome.KEPT] * 2


@pytest.mark.parametrize(
    ("other", "kept"),
    [
        (replace(TILING, min_focus=1e-9), True),  # other scores, the same kept tiles
        (replace(TILING, overlap=56), False),
        (replace(TILING, target_mpp=0.55, tile_size=112), False),
        (replace(TILING, tile_size=96), False),
        (replace(TILING, min_tissue=1.0), False),
    ],
    ids=["focus", "overlap", "target_mpp", "tile_size", "min_tissue"],
)
def test_features_are_made_again_if_what_they_depend_on_changes(tiles, tmp_path, other, kept):
    run(tiles, tmp_path / "out")
    before = [row["tiles_fingerprint"] for row in TILED_SLIDES.read_rows(tiles / "slides.parquet")]
    tile(TileInputs(slides_in(tmp_path, "a", "b")), tiles, other, selection=Selection(overwrite=True))
    after = [row["tiles_fingerprint"] for row in TILED_SLIDES.read_rows(tiles / "slides.parquet")]
    assert (after == before) is kept
    assert outcomes(run(tiles, tmp_path / "out")) == [Outcome.KEPT if kept else Outcome.DONE] * 2


def test_a_slide_that_is_empty_now_has_empty_features(tiles, tmp_path):
    run(tiles, tmp_path / "out")
    write_lossless_slide(tmp_path / "slides/a.tif", np.full_like(TISSUE, GLASS), 0.5)
    tile(TileInputs(slides_in(tmp_path, "a", "b")), tiles, TILING)
    assert outcomes(run(tiles, tmp_path / "out")) == [Outcome.EMPTY, Outcome.KEPT]
    assert read_header(tmp_path / "out/a.h5").n_tiles == 0
    assert (rows_of(tmp_path / "out")["a"]["status"], rows_of(tmp_path / "out")["a"]["n_tiles"]) == ("empty", 0)


def test_slides_that_are_gone_or_that_failed_to_be_tiled_again_leave_the_table_of_features(tiles, tmp_path):
    out = tmp_path / "out"
    run(tiles, out)
    (tmp_path / "slides/a.tif").write_bytes(b"damaged")
    tile(TileInputs(slides_in(tmp_path, "a", "b")), tiles, TILING)
    summary = run(tiles, out)
    assert list(rows_of(out)) == ["b"]
    assert summary.facts["slides_gone"] == 1
    (tmp_path / "slides/a.tif").unlink()
    shutil.copy(tmp_path / "slides/b.tif", tmp_path / "slides/c.tif")
    (tmp_path / "slides/b.tif").unlink()
    tile(TileInputs(tmp_path / "slides"), tiles, TILING)
    run(tiles, out)
    assert list(rows_of(out)) == ["c"]


def test_rows_of_features_from_other_tiles_leave_the_table_even_if_their_slide_is_not_selected(tiles, tmp_path):
    out = tmp_path / "out"
    run(tiles, out)
    tile(
        TileInputs(slides_in(tmp_path, "a", "b")),
        tiles,
        replace(TILING, overlap=56),
        selection=Selection(overwrite=True),
    )
    run(tiles, out, selection=Selection(shard=Shard(2, 2)))
    assert list(rows_of(out)) == ["b"]
    run(tiles, out, selection=Selection(shard=Shard(1, 2)))
    assert list(rows_of(out)) == ["a", "b"]


def test_rows_of_other_shards_and_of_failed_slides_stay(tiles, tmp_path):
    out = tmp_path / "out"
    slide = (tmp_path / "slides/a.tif").read_bytes()
    (tmp_path / "slides/a.tif").unlink()
    run(tiles, out)
    assert {name: row["status"] for name, row in rows_of(out).items()} == {"a": "failed", "b": "ok"}
    run(tiles, out, selection=Selection(shard=Shard(2, 2)))
    assert {name: row["status"] for name, row in rows_of(out).items()} == {"a": "failed", "b": "ok"}
    (tmp_path / "slides/a.tif").write_bytes(slide)
    assert outcomes(run(tiles, out, selection=Selection(only_failed=True))) == [Outcome.DONE]
    assert {name: row["status"] for name, row in rows_of(out).items()} == {"a": "ok", "b": "ok"}


def test_the_table_lists_only_current_features_while_the_run_goes(tiles, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.core.table_writer.WRITE_SECONDS", -1)
    out, listed = tmp_path / "out", []
    run(tiles, out)
    for name in "ab":
        (out / f"{name}.h5").write_bytes(b"damaged")
    run(tiles, out, on_result=lambda _: listed.append(list(rows_of(out))))
    assert listed == [["a"], ["a", "b"]]


def test_an_interrupted_run_leaves_a_table_of_the_finished_slides(tiles, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiles, tmp_path / "out", on_result=interrupt)
    assert list(rows_of(tmp_path / "out")) == ["a"]


def test_a_damaged_table_of_features_is_made_again(tiles, tmp_path, caplog):
    run(tiles, tmp_path / "out")
    before = rows_of(tmp_path / "out")
    (tmp_path / "out/slides.parquet").write_bytes(b"damaged")
    assert outcomes(run(tiles, tmp_path / "out", selection=Selection(shard=Shard(2, 2)))) == [Outcome.KEPT]
    assert rows_of(tmp_path / "out") == before
    assert "out/slides.parquet" in caplog.text


def test_the_tile_table_records_the_fingerprints_of_the_slide_and_of_its_tiles(tiles):
    noted = json.loads(TILES.notes(tiles / "a.parquet")["five.row"])
    row, same_slide = TILED_SLIDES.read_rows(tiles / "slides.parquet")
    assert (row["slide_fingerprint"], row["tiles_fingerprint"]) == (
        noted["slide_fingerprint"],
        noted["tiles_fingerprint"],
    )
    assert row["tiles_fingerprint"] == same_slide["tiles_fingerprint"]
