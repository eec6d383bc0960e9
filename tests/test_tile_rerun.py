"""`slides.parquet` of `five tile` is written as the run goes, and slides that are gone leave it."""

import json
import shutil

import pytest

from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide
from pipelines.core.provenance import Provenance
from pipelines.core.resources import TileResources
from pipelines.core.schemas import TILED_SLIDES, TILES
from pipelines.core.selection import Selection, Shard
from pipelines.tile import TileInputs, tile
from tests.slide_files import write_lossless_slide
from tests.tiling import SETTINGS, TISSUE, outcomes, rows_of


@pytest.fixture
def folder(tmp_path):
    write_lossless_slide(tmp_path / "slides" / "x/a.tif", TISSUE, 0.5)
    for name in ("b", "c"):
        shutil.copy(tmp_path / "slides/x/a.tif", tmp_path / f"slides/{name}.tif")
    return tmp_path / "slides"


def run(slides, tmp_path, **options):
    return tile(TileInputs(slides), tmp_path / "out", SETTINGS, **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_table_lists_finished_slides_while_the_run_goes(folder, tmp_path, monkeypatch, workers):
    monkeypatch.setattr("pipelines.core.table_writer.WRITE_SECONDS", -1)
    listed = []
    run(
        folder,
        tmp_path,
        resources=TileResources(workers=workers),
        on_result=lambda result: listed.append(result.item_id in rows_of(tmp_path / "out")),
    )
    assert listed == [True] * 3
    assert list(rows_of(tmp_path / "out")) == ["b", "c", "x/a"]


def test_an_interrupted_run_leaves_a_table_of_the_finished_slides(folder, tmp_path):
    def interrupt(result):
        if result.item_id == "c":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path, on_result=interrupt)
    assert list(rows_of(tmp_path / "out")) == ["b", "c"]


@pytest.mark.parametrize(
    "selection",
    [Selection(), Selection(only_failed=True), Selection(shard=Shard(2, 2))],
    ids=["all", "failed", "shard"],
)
def test_slides_that_left_the_folder_leave_the_table(folder, tmp_path, selection):
    run(folder, tmp_path)
    shutil.rmtree(folder / "x")  # with its folder
    (folder / "b.tif").rename(tmp_path / "b.tif")
    summary = run(folder, tmp_path, selection=selection)
    assert list(rows_of(tmp_path / "out")) == ["c"]
    assert summary.facts["slides_gone"] == 2


def test_a_renamed_slide_is_listed_once(folder, tmp_path):
    run(folder, tmp_path)
    (folder / "b.tif").rename(folder / "d.tif")
    run(folder, tmp_path)
    assert list(rows_of(tmp_path / "out")) == ["c", "d", "x/a"]


def test_slides_that_are_tiled_one_by_one_share_a_table_until_their_file_is_deleted(folder, tmp_path):
    for name in ("x/a", "b", "c"):
        summary = run(folder / f"{name}.tif", tmp_path)
    assert list(rows_of(tmp_path / "out")) == ["a", "b", "c"]
    assert summary.facts["other_slides_in_the_table"] == 2
    (folder / "b.tif").unlink()
    shutil.rmtree(folder / "x")  # its folder is gone too: perhaps it is not mounted now
    summary = run(folder / "c.tif", tmp_path)
    assert list(rows_of(tmp_path / "out")) == ["a", "c"]
    assert (summary.facts["slides_gone"], summary.facts["other_slides_in_the_table"]) == (1, 1)


def test_slides_of_another_folder_stay_in_the_table(folder, tmp_path):
    run(folder, tmp_path)
    other = write_lossless_slide(tmp_path / "slides of others/z.tif", TISSUE, 0.5)
    summary = run(other.parent, tmp_path)
    assert list(rows_of(tmp_path / "out")) == ["b", "c", "x/a", "z"]
    assert summary.facts["other_slides_in_the_table"] == 3
    assert "slides_gone" not in summary.facts


def test_slides_that_the_cohort_names_otherwise_stay_with_the_folder_as_input(folder, tmp_path):
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("slide_id,path\nP1,slides/b.tif\n")
    run(folder, tmp_path, selection=Selection(cohort=cohort))
    assert list(rows_of(tmp_path / "out")) == ["P1"]
    assert outcomes(run(folder, tmp_path, selection=Selection(cohort=cohort))) == [Outcome.KEPT]
    assert list(rows_of(tmp_path / "out")) == ["P1"]


def test_a_failed_slide_whose_file_is_missing_stays_as_long_as_the_input_lists_it(tmp_path):
    run([CohortSlide("gone", tmp_path / "gone.svs")], tmp_path)
    run([CohortSlide("gone", tmp_path / "gone.svs")], tmp_path)
    assert rows_of(tmp_path / "out")["gone"]["status"] == "failed"


@pytest.mark.parametrize("content", [b"", b"damaged", b"PAR1PAR1"])
def test_a_damaged_table_is_made_again_from_the_tile_tables(folder, tmp_path, caplog, content):
    run(folder, tmp_path)
    before = rows_of(tmp_path / "out")
    (tmp_path / "out/slides.parquet").write_bytes(content)
    assert outcomes(run(folder / "b.tif", tmp_path)) == [Outcome.KEPT]
    assert rows_of(tmp_path / "out") == before
    assert "out/slides.parquet: damaged, or changed by another program" in caplog.text


def test_a_table_of_another_version_is_made_again(folder, tmp_path, monkeypatch):
    run(folder, tmp_path)
    before = rows_of(tmp_path / "out")
    rows = list(before.values())
    object.__setattr__(TILED_SLIDES, "version", 1)
    try:
        TILED_SLIDES.write(tmp_path / "out/slides.parquet", rows[:1], Provenance({}))
    finally:
        object.__setattr__(TILED_SLIDES, "version", 2)
    run(folder, tmp_path)
    assert rows_of(tmp_path / "out") == before


def test_the_rows_are_those_of_the_tile_tables(folder, tmp_path):
    run(folder, tmp_path)
    for name, row in rows_of(tmp_path / "out").items():
        noted = json.loads(TILES.notes(tmp_path / f"out/{name}.parquet")["five.row"])
        assert noted == {key: row[key] for key in noted}
