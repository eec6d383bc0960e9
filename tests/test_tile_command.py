"""The command `five tile`: flags, configuration, cohorts, dry runs, exit codes."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ChangedSettingsError
from pipelines.core.schemas import TILES
from pipelines.core.selection import Selection
from pipelines.tile import TileInputs, plan, tile
from tests.slide_files import write_lossless_slide
from tests.tiling import SETTINGS, TISSUE, rows_of


@pytest.fixture
def slide(tmp_path):
    write_lossless_slide(tmp_path / "slides" / "a.tif", TISSUE, 0.5)
    return CohortSlide("a", tmp_path / "slides" / "a.tif", patient_id="P1")


def run(*arguments):
    return CliRunner().invoke(app, ["tile", *map(str, arguments)])


def test_the_command_reports_failures_and_exits_with_3(slide, tmp_path):
    write_lossless_slide(tmp_path / "slides" / "b.tif", TISSUE, None)
    result = run(tmp_path / "slides", "-o", tmp_path / "out", "--tile-size", "112")
    assert result.exit_code == 3
    assert "b.tif" in result.stderr
    assert "--mpp" in result.stderr
    assert rows_of(tmp_path / "out")["a"]["n_tiles"] == 20


def test_the_command_accepts_a_single_slide_and_prints_json(slide, tmp_path):
    result = run(slide.path, "-o", tmp_path / "out", "--tile-size", "112", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tiles"] == 20


def test_the_command_accepts_a_cohort_with_some_slides_of_a_folder(slide, tmp_path):
    write_lossless_slide(tmp_path / "slides" / "b.tif", TISSUE, None)
    (tmp_path / "cohort.csv").write_text("slide_id,patient_id,mpp\nb,P7,0.5\n")
    result = run(tmp_path / "slides", "--cohort", tmp_path / "cohort.csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [row] = rows_of(tmp_path / "out").values()
    assert (row["slide_id"], row["patient_id"], row["mpp_source"]) == ("b", "P7", "cohort")


def test_flags_override_the_configuration_file_which_overrides_defaults(slide, tmp_path):
    (tmp_path / "tile.yaml").write_text("tile-size: 56\noverlap: 8\n")
    result = run(slide.path, "-o", tmp_path / "out", "--config", tmp_path / "tile.yaml", "--tile-size", "112")
    assert result.exit_code == 0, result.output
    made = TILES.provenance(tmp_path / "out" / "a.parquet").settings
    assert (made["tile_size"], made["overlap"], made["target_mpp"]) == (112, 8, 0.5)


def test_a_dry_run_counts_and_writes_nothing(slide, tmp_path):
    (tmp_path / "cohort.csv").write_text("slide_id,path\na,slides/a.tif\ngone,slides/gone.tif\n")
    result = run(tmp_path / "cohort.csv", "-o", tmp_path / "out", "--dry-run", "--json")
    counts = json.loads(result.stdout)
    assert {name: counts[name] for name in ("slides", "without_file", "current", "to_do")} == {
        "slides": 2,
        "without_file": 1,
        "current": 0,
        "to_do": 1,
    }
    assert not (tmp_path / "out").exists()


def test_a_dry_run_refuses_what_the_run_would_refuse(slide, tmp_path):
    tile(TileInputs([slide]), tmp_path / "out", SETTINGS)
    other = replace(SETTINGS, overlap=8)
    with pytest.raises(ChangedSettingsError, match="overlap 0 -> 8"):
        plan(TileInputs([slide]), tmp_path / "out", other)
    assert plan(TileInputs([slide]), tmp_path / "out", other, selection=Selection(overwrite=True))["to_do"] == 1


def test_shards_split_the_slides_and_failed_slides_can_be_retried(slide, tmp_path):
    write_lossless_slide(tmp_path / "slides" / "b.tif", TISSUE, None)
    slides, out = tmp_path / "slides", tmp_path / "out"
    assert run(slides, "-o", out, "--shard", "1/2").exit_code == 0
    assert list(rows_of(out)) == ["a"]
    assert run(slides, "-o", out, "--shard", "2/2").exit_code == 3
    write_lossless_slide(tmp_path / "slides" / "b.tif", TISSUE, 0.5)
    result = run(slides, "-o", out, "--only-failed", "--json")
    assert json.loads(result.stdout)["counts"]["done"] == 1
    assert rows_of(out)["b"]["status"] == "ok"
