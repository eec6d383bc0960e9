"""Faults that ``five tile`` survives: killed processes, full disks, truncated files, two runs at once."""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.core.batch import Outcome, run_batch
from pipelines.core.cohort import CohortSlide, read_cohort
from pipelines.core.errors import ArtifactError
from pipelines.core.resources import TileResources
from pipelines.core.schemas import TILED_SLIDES, TILES
from pipelines.core.settings import TileSettings
from pipelines.slides.slide_tiling import TileOneSlide
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.tile import TileInputs, tile
from tests.slide_files import destroy_tile, tissue_drawing, write_lossless_slide
from tests.tiling import SETTINGS, TISSUE

SPAWN = multiprocessing.get_context("spawn")
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@pytest.fixture
def slides(tmp_path):
    path = write_lossless_slide(tmp_path / "slides" / "one.tif", TISSUE, 0.5)
    return [CohortSlide(f"site {number % 3}/{number:03}", path) for number in range(24)]


def artifacts(out):
    """Return the content of the files in ``out`` by name; tables without their column of times."""
    contents = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and ".locks" not in path.parts):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".parquet" and ".part." not in name:
            table = pq.read_table(path, partitioning=None)
            contents[name] = table.drop(["seconds"] if "seconds" in table.column_names else []).to_pylist()
        else:
            contents[name] = path.read_bytes()
    return contents


def children(pid):
    """Return the worker processes that ``pid`` started, without resource trackers."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def is_running(pid):
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_tables(out, number, process):
    """Wait until ``number`` slides are tiled or the run has ended."""
    while process.is_alive() and len(list(out.glob("site */[0-9]*.parquet"))) < number:
        time.sleep(0.005)


def run_in(slides, out, workers):
    tile(TileInputs(slides), out, SETTINGS, resources=TileResources(workers=workers))


def run_until_write(slides, out, number):
    """Tile, and kill this process when the ``number``-th file is written but not yet renamed."""
    written = []

    def count(_handle):
        written.append(1)
        if len(written) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = count
    tile(TileInputs(slides), out, SETTINGS)


@needs_kill
@pytest.mark.parametrize(
    ("number", "named"),
    [(2, []), (3, ["geojson"]), (4, ["geojson", "jpg"]), (5, ["geojson", "jpg", "parquet"])],
    ids=["outlines", "picture", "tiles", "summary"],
)
def test_the_next_run_replaces_the_partial_file_of_a_run_killed_while_writing(slides, tmp_path, number, named):
    out = tmp_path / "out"
    process = SPAWN.Process(target=run_until_write, args=(slides[:1], out, number))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    names = [name for name in artifacts(out) if name != "five.json"]
    assert sorted(name.split(".")[-1] for name in names if ".part" not in name) == named
    assert len([name for name in names if ".part" in name]) == 1
    tile(TileInputs(slides[:1]), out, SETTINGS)
    tile(TileInputs(slides[:1]), tmp_path / "undisturbed", SETTINGS)
    assert artifacts(out) == artifacts(tmp_path / "undisturbed")


@needs_kill
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_next_run_completes_a_run_killed_at_a_random_moment(slides, tmp_path, seed):
    moment, out = random.Random(seed), tmp_path / "out"
    process = SPAWN.Process(target=run_in, args=(slides, out, 1))
    process.start()
    wait_for_tables(out, moment.randrange(len(slides) - 4), process)
    time.sleep(moment.uniform(0, 0.03))  # anywhere in the tiling of the next slide
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for table in out.glob("site */[0-9]*.parquet"):
        assert TILES.read(table).num_rows
    summary = tile(TileInputs(slides), out, SETTINGS)
    assert not summary.failures
    tile(TileInputs(slides), tmp_path / "undisturbed", SETTINGS)
    assert artifacts(out) == artifacts(tmp_path / "undisturbed")


@needs_kill
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_the_workers_of_a_killed_run_end(slides, tmp_path):
    process = SPAWN.Process(target=run_in, args=(slides, tmp_path / "out", 2))
    process.start()
    wait_for_tables(tmp_path / "out", 3, process)
    workers = children(process.pid)
    process.kill()
    process.join()
    deadline = time.monotonic() + 20
    while (running := [pid for pid in workers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(workers) == 2
    assert not running


@needs_kill
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_no_slide_is_lost_if_a_worker_is_killed(slides, tmp_path):
    out = tmp_path / "out"
    process = SPAWN.Process(target=run_in, args=(slides, out, 2))
    process.start()
    wait_for_tables(out, 3, process)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    process.join()
    assert process.exitcode == 0
    tile(TileInputs(slides), tmp_path / "undisturbed", SETTINGS)
    after_kill, expected = artifacts(out), artifacts(tmp_path / "undisturbed")
    assert {name: rows for name, rows in after_kill.items() if ".part" not in name} == expected
    assert {result.outcome for result in tile(TileInputs(slides), out, SETTINGS).results} == {Outcome.KEPT}
    assert artifacts(out) == expected


def tile_and_count(slides, out, counts):
    counts.put(tile(TileInputs(slides), out, SETTINGS).counts)


@pytest.mark.slow
def test_two_runs_on_one_folder_tile_every_slide_once(slides, tmp_path):
    out, counts = tmp_path / "out", SPAWN.Queue()
    processes = [SPAWN.Process(target=tile_and_count, args=(slides, out, counts)) for _ in range(2)]
    for process in processes:
        process.start()
    all_counts = [counts.get() for _ in processes]
    for process in processes:
        process.join()
    assert sum(count["done"] for count in all_counts) == len(slides)
    assert not any(count["failed"] for count in all_counts)
    tile(TileInputs(slides), tmp_path / "undisturbed", SETTINGS)
    assert artifacts(out) == artifacts(tmp_path / "undisturbed")


def disk_full(*_arguments, **_options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_fails_the_slide_and_leaves_no_partial_file(slides, tmp_path, monkeypatch):
    first, second, third = slides[:3]
    out = tmp_path / "out"
    tile(TileInputs([first]), out, SETTINGS)
    before = artifacts(out)
    write = Path.write_bytes

    def full_for_the_second(path, content):
        return disk_full() if path.name.startswith(".001-") else write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full_for_the_second)
    summary = tile(TileInputs([first, second, third]), out, SETTINGS)
    assert [result.outcome for result in summary.results] == [Outcome.KEPT, Outcome.FAILED, Outcome.DONE]
    [failure] = summary.failures
    assert "No space left" in failure.error
    assert "free" in failure.error
    rows = {row["slide_id"]: row for row in TILED_SLIDES.read_rows(out / "slides.parquet")}
    assert rows[second.slide_id]["error"] == failure.error
    after = artifacts(out)
    assert after["site 0/000.parquet"] == before["site 0/000.parquet"]
    assert not [name for name in after if ".part" in name or name == "site 1/001.parquet"]
    monkeypatch.undo()
    assert tile(TileInputs([second]), out, SETTINGS).results[0].outcome is Outcome.DONE


def test_a_disk_too_full_for_locks_and_traces_fails_slides_but_not_the_batch(slides, tmp_path, monkeypatch):
    monkeypatch.setattr("filelock.SoftFileLease.acquire", disk_full)
    monkeypatch.setattr(Path, "write_text", disk_full)
    results = run_batch(slides[:2], TileOneSlide(tmp_path / "out", SETTINGS), folder=tmp_path / "out")
    assert [result.outcome for result in results] == [Outcome.FAILED] * 2
    assert all("No space left" in result.error for result in results)


def test_a_disk_that_is_full_at_the_end_leaves_the_old_summary_table(slides, tmp_path, monkeypatch):
    out = tmp_path / "out"
    tile(TileInputs(slides[:1]), out, SETTINGS)
    before = (out / "slides.parquet").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(ArtifactError, match="No space left"):
        tile(TileInputs(slides[:1]), out, SETTINGS)
    assert (out / "slides.parquet").read_bytes() == before
    assert not list(out.rglob("*.part*"))


def test_an_output_folder_that_cannot_be_created_is_an_error_that_names_it(slides, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file/out/five\.json: cannot write here"):
        tile(TileInputs(slides[:1]), tmp_path / "file" / "out", SETTINGS)


def test_an_output_folder_without_write_permission_is_an_error_that_names_it(slides, tmp_path, monkeypatch):
    def denied(*_arguments, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pipelines.core.files._create", denied)
    with pytest.raises(ArtifactError, match=r"out/five\.json: cannot write here \(Permission denied\)"):
        tile(TileInputs(slides), tmp_path / "out", SETTINGS)


def test_an_unreadable_region_affects_only_its_tiles(tmp_path):
    """Focus is measured on level 1 (768 px), whose middle stored tile is destroyed; the thumbnail uses level 2."""
    path = tmp_path / "a.svs"
    write_pyramidal_slide(path, tissue_drawing(3072, 3072, [(0, 3072, 0, 3072)]), 0.5)
    destroy_tile(path, 1, 4)
    settings = TileSettings(tile_size=256, min_focus=1, min_contrast=0)
    assert tile(TileInputs([CohortSlide("a", path)]), tmp_path / "out", settings).results[0].outcome is Outcome.DONE
    tiles = TILES.read(tmp_path / "out" / "a.parquet").to_pylist()
    unreadable = {(row["x"], row["y"]) for row in tiles if row["reason"] == "unreadable"}
    assert unreadable == {(x, y) for x in range(1024, 2048, 256) for y in range(1024, 2048, 256)}
    assert {(row["x"], row["y"]) for row in tiles if not row["keep"]} == unreadable
    assert len(tiles) == 144


@pytest.fixture(scope="module")
def whole_slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.svs"
    write_pyramidal_slide(path, TISSUE, 0.5)
    return path.read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), zeros=st.booleans())
def test_a_truncated_slide_is_recorded_and_the_batch_continues(whole_slide, tmp_path_factory, share, zeros):
    """The file is truncated, or its rest is zero as after an interrupted copy."""
    folder = tmp_path_factory.mktemp("cut")
    kept = whole_slide[: int(len(whole_slide) * share)]
    (folder / "cut.svs").write_bytes(kept + bytes(len(whole_slide) - len(kept)) if zeros else kept)
    (folder / "whole.svs").write_bytes(whole_slide)
    summary = tile(TileInputs(read_cohort(folder)), folder / "out", SETTINGS)
    cut, whole = TILED_SLIDES.read_rows(folder / "out" / "slides.parquet")
    assert summary.results[1].outcome is Outcome.DONE
    assert whole["n_tiles"] == 20
    if cut["status"] == "failed":
        assert cut["error_type"] in ("SlideError", "MissingMppError")
        assert "cut.svs" in cut["error"]
        assert not (folder / "out" / "cut.parquet").exists()
    else:
        assert cut["n_tiles"] <= 20


def test_local_copies_give_the_same_results_as_the_slides(slides, tmp_path):
    fast = tmp_path / "fast"
    tile(TileInputs(slides[:5]), tmp_path / "in place", SETTINGS)
    for workers in (1, 2):
        summary = tile(
            TileInputs(slides[:5]),
            tmp_path / f"copied {workers}",
            SETTINGS,
            resources=TileResources(workers=workers, stage_dir=fast),
        )
        assert not summary.failures
        assert list(fast.iterdir()) == []
        assert artifacts(tmp_path / f"copied {workers}") == artifacts(tmp_path / "in place")


def test_too_little_space_for_a_copy_fails_only_that_slide(slides, tmp_path):
    large = write_lossless_slide(tmp_path / "slides" / "large.tif", TISSUE.repeat(2, axis=1), 0.5)
    space = slides[0].path.stat().st_size + 1000  # enough for one small slide, but not for two

    def usage(folder):
        used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return shutil._ntuple_diskusage(space, used, space - used)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", usage)
        cohort = [slides[0], CohortSlide("large", large), slides[1]]
        summary = tile(
            TileInputs(cohort), tmp_path / "out", SETTINGS, resources=TileResources(stage_dir=tmp_path / "fast")
        )
    assert [result.outcome for result in summary.results] == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert "large.tif" in summary.failures[0].error
    assert "--stage-dir" in summary.failures[0].error


@needs_kill
@pytest.mark.slow
def test_the_next_run_deletes_the_copies_of_a_killed_run(slides, tmp_path):
    out, fast = tmp_path / "out", tmp_path / "fast"
    resources = TileResources(stage_dir=fast)
    process = SPAWN.Process(target=tile, args=(TileInputs(slides), out, SETTINGS), kwargs={"resources": resources})
    process.start()
    wait_for_tables(out, 2, process)
    process.kill()
    process.join()
    assert list(fast.iterdir())
    assert not tile(TileInputs(slides), out, SETTINGS, resources=resources).failures
    assert list(fast.iterdir()) == []
