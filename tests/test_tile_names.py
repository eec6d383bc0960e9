"""Names that cannot be used fail their own slide in `five tile`; the others are tiled."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.batch import Outcome
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError
from pipelines.core.resources import TileResources
from pipelines.tile import TileInputs, plan, tile
from tests.slide_files import write_lossless_slide
from tests.tiling import SETTINGS, TISSUE, rows_of

BAD_NAMES = [b"\xff", b"a\nb", b"a\xe2\x80\xa8b", b"e.", b"e ", b"aux", b"slides", b"x" * 220]


@pytest.fixture
def good(tmp_path):
    return write_lossless_slide(tmp_path / "slides/good.tif", TISSUE, 0.5)


@pytest.fixture
def folder(good):
    for name in BAD_NAMES:
        shutil.copy(good, good.parent / os.fsdecode(name + b".tif"))
    return good.parent


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_names_in_a_folder_fail_one_by_one(folder, tmp_path, workers):
    summary = tile(TileInputs(folder), tmp_path / "out", SETTINGS, resources=TileResources(workers=workers))
    rows = rows_of(tmp_path / "out")
    assert summary.counts["failed"] == len(BAD_NAMES)
    assert [name for name, row in rows.items() if row["status"] == "ok"] == ["good"]
    for row in rows.values():
        if row["status"] == "failed":
            assert "rename the file" in row["error"]
            assert len(row["error"].splitlines()) == 1
            assert row["error"].startswith("slide '")
    counts = plan(TileInputs(folder), tmp_path / "out", SETTINGS)
    assert (counts["with_unusable_name"], counts["current"], counts["to_do"]) == (len(BAD_NAMES), 1, 0)


def test_a_renamed_file_leaves_the_table_under_its_old_name(folder, tmp_path):
    tile(TileInputs(folder), tmp_path / "out", SETTINGS)
    for name in BAD_NAMES[1:]:
        (folder / os.fsdecode(name + b".tif")).unlink()
    (folder / os.fsdecode(b"\xff.tif")).rename(folder / "renamed.tif")
    tile(TileInputs(folder), tmp_path / "out", SETTINGS)
    assert {name: row["status"] for name, row in rows_of(tmp_path / "out").items()} == {"good": "ok", "renamed": "ok"}


def test_bad_ids_in_a_cohort_table_fail_one_by_one(good, tmp_path):
    ids = ["../x", "/etc/x", "a\0b", "nul", "good"]
    pq.write_table(pa.table({"slide_id": ids, "path": ["slides/good.tif"] * 5}), tmp_path / "cohort.parquet")
    summary = tile(TileInputs(tmp_path / "cohort.parquet"), tmp_path / "out", SETTINGS)
    assert summary.counts["failed"] == 4
    assert rows_of(tmp_path / "out")["good"]["status"] == "ok"
    assert not (tmp_path / "x.parquet").exists()


def test_a_path_with_a_nul_character_fails_its_slide(good, tmp_path):
    pq.write_table(
        pa.table({"slide_id": ["bad", "good"], "path": ["a\0.tif", "slides/good.tif"]}), tmp_path / "c.parquet"
    )
    summary = tile(TileInputs(tmp_path / "c.parquet"), tmp_path / "out", SETTINGS)
    assert [result.outcome for result in summary.results] == [Outcome.FAILED, Outcome.DONE]


def test_an_output_folder_whose_name_is_not_utf_8_is_refused(good, tmp_path):
    with pytest.raises(ArtifactError, match=r"out\\xfe: the name is not UTF-8"):
        tile(TileInputs(good), tmp_path / os.fsdecode(b"out\xfe"), SETTINGS)


def test_long_nested_ids_and_ids_that_differ_in_a_slash_are_tiled(good, tmp_path):
    ids = ["/".join(["x" * 60] * 8), "a/b", "a__b"]
    summary = tile(TileInputs([CohortSlide(name, good) for name in ids]), tmp_path / "out", SETTINGS)
    assert [result.outcome for result in summary.results] == [Outcome.DONE] * 3


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_names_that_are_not_utf_8(folder, tmp_path, as_json):
    command = [sys.executable, "-m", "fivecli", "tile", folder, "-o", tmp_path / "out"]
    command += ["--tile-size", "112", *(["--json"] if as_json else [])]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONUTF8": "1"}
    done = subprocess.run(command, check=False, capture_output=True, env=environment)
    assert done.returncode == 3, done.stderr
    assert "slide '\\xff': the name is not UTF-8 (rename the file" in done.stderr.decode()
    if as_json:
        assert len(json.loads(done.stdout)["failures"]) == len(BAD_NAMES)


def test_a_nul_character_in_a_cohort_table_fails_its_own_slide(good, tmp_path):
    table = tmp_path / "cohort.csv"
    table.write_bytes(b"slide_id,path\ngood,%s\nb\0ad,%s\n" % (bytes(good), bytes(good)))
    summary = tile(TileInputs(table), tmp_path / "out", SETTINGS)
    assert {result.item_id: result.outcome for result in summary.results}["good"] is Outcome.DONE
    assert summary.counts["failed"] == 1
    assert "control character" in summary.failures[0].error
