"""Batches on a real, local Ray cluster."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.core.batch import Outcome, Result, run_with
from pipelines.core.batch.on_ray import OnRay
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import SettingsError, SlideError
from pipelines.core.resources import TileResources
from pipelines.core.schemas import TILES
from pipelines.core.settings import TileSettings
from pipelines.tile import TileInputs, tile
from tests.slide_files import tissue_drawing, write_lossless_slide

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Item:
    slide_id: str


@dataclass(frozen=True)
class WritesPid:
    """Work that fails on 'bad', dies on 'fatal', and writes its process id to a file."""

    folder: Path

    def __call__(self, item: Item) -> Result:
        with (self.folder / item.slide_id).open("a") as mark:
            mark.write(f"{os.getpid()}\n")
        if item.slide_id == "bad":
            raise SlideError("bad: cannot be read", hint="scan it again")
        if item.slide_id == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        return Result(item.slide_id, Outcome.DONE, {"slide_id": item.slide_id})


def test_an_unreachable_cluster_is_an_error(tmp_path, monkeypatch):
    """This test must run first, because the fixture of the other tests starts a cluster."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(SettingsError, match="--ray auto: cannot reach a cluster"):
        run_with(OnRay("auto", WritesPid(tmp_path)), [Item("a")], folder=tmp_path)


def test_the_error_without_ray_names_the_package_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match="needs the package ray") as raised:
        run_with(OnRay("auto", WritesPid(tmp_path)), [Item("a")], folder=tmp_path)
    assert "five-wsi[ray]" in raised.value.hint


@pytest.fixture(scope="module")
def cluster():
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_items_run_on_the_cluster_and_only_bad_and_deadly_items_fail(cluster, tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    names = ["a", "bad", "fatal", *"bcdefgh"]
    reported = []
    results = run_with(
        OnRay("local", WritesPid(pids)),
        [Item(name) for name in names],
        folder=tmp_path,
        on_result=lambda result: reported.append(result.item_id),
    )
    assert [result.item_id for result in results] == names
    by_id = {result.item_id: result for result in results}
    assert [name for name in names if by_id[name].outcome is Outcome.FAILED] == ["bad", "fatal"]
    assert by_id["bad"].error == "bad: cannot be read (scan it again)"
    assert "the worker on the cluster died" in by_id["fatal"].error
    assert sorted(reported) == sorted(names)
    tries = {name: (pids / name).read_text().split() for name in names}
    assert all(len(tries[name]) == 1 for name in names if name != "fatal")
    assert len(tries["fatal"]) == 2
    assert str(os.getpid()) not in {pid for attempts in tries.values() for pid in attempts}


def test_slides_tiled_on_the_cluster_equal_those_tiled_here(cluster, tmp_path):
    path = write_lossless_slide(tmp_path / "a.tif", tissue_drawing(672, 896, [(112, 560, 224, 784)]), 0.5)
    slides, settings = [CohortSlide(name, path) for name in ("x/a", "b", "c")], TileSettings(tile_size=112)
    summary = tile(TileInputs(slides), tmp_path / "cluster", settings, resources=TileResources(ray="local"))
    assert summary.counts["done"] == 3
    tile(TileInputs(slides), tmp_path / "here", settings)
    for slide in slides:
        there, here = (TILES.read(tmp_path / out / f"{slide.slide_id}.parquet") for out in ("cluster", "here"))
        assert there.equals(here)
    assert (
        tile(TileInputs(slides), tmp_path / "cluster", settings, resources=TileResources(ray="local")).counts["kept"]
        == 3
    )
