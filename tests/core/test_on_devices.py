"""Batches on several devices: every item once, dying processes, and access to upcoming items."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.core.batch import Outcome, Result, run_with
from pipelines.core.batch.on_devices import OnDevices
from pipelines.core.errors import EncoderError, FiveError

NAMES = [f"item-{number}" for number in range(6)]


@dataclass(frozen=True)
class Start:
    """Starts work that records device, process and next item, and dies as often as ``deadly`` says per item."""

    folder: Path
    deadly: tuple[tuple[str, int], ...] = ()
    looks_ahead: bool = False

    @contextmanager
    def __call__(self, device, items):
        number = -1

        def work(item):
            nonlocal number
            number += 1
            if self.looks_ahead:
                try:
                    following = items[number + 1]
                except IndexError:
                    following = None
            for name, max_deaths in self.deadly:
                path = self.folder / f"{name}.deaths"
                n_deaths = len(path.read_text()) if path.exists() else 0
                if name == item and n_deaths < max_deaths:
                    path.write_text("x" * (n_deaths + 1))
                    os._exit(9)
            row = {"device": device, "process": os.getpid(), "next": following if self.looks_ahead else None}
            return Result(item, Outcome.DONE, {**row, "this": items[number]})

        yield work


@contextmanager
def cannot_start(device, items):
    raise EncoderError("no weights", hint="fetch them")
    yield


@contextmanager
def dies(device, items):
    os._exit(9)
    yield


def run(start, folder, devices=("x:0", "x:1"), names=NAMES):
    reported = []
    results = run_with(OnDevices(devices, start), names, item_id=str, folder=folder, on_result=reported.append)
    assert sorted(result.item_id for result in reported) == sorted(names)  # each once
    return results


def test_each_item_is_processed_once_and_each_device_has_its_own_process(tmp_path):
    results = run(Start(tmp_path), tmp_path)
    assert [result.item_id for result in results] == NAMES
    assert {result.outcome for result in results} == {Outcome.DONE}
    pairs = {(result.row["device"], result.row["process"]) for result in results}
    assert len({process for _, process in pairs}) == len(pairs)
    assert os.getpid() not in {process for _, process in pairs}


def test_one_device_uses_this_process(tmp_path):
    results = run(Start(tmp_path, looks_ahead=True), tmp_path, devices=("x:0",))
    assert {result.row["process"] for result in results} == {os.getpid()}
    assert [result.row["next"] for result in results] == [*NAMES[1:], None]


def test_a_process_receives_the_items_that_it_has_looked_at(tmp_path):
    results = run(Start(tmp_path, looks_ahead=True), tmp_path)
    assert all(result.row["this"] == result.item_id for result in results)
    by_name = {result.item_id: result.row for result in results}
    for row in by_name.values():
        assert row["next"] is None or by_name[row["next"]]["process"] == row["process"]


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_an_item_whose_process_died_once_is_retried(tmp_path, looks_ahead):
    results = run(Start(tmp_path, (("item-1", 1),), looks_ahead), tmp_path)
    assert {result.outcome for result in results} == {Outcome.DONE}


@pytest.mark.parametrize("looks_ahead", [False, True])
def test_only_an_item_that_always_kills_its_process_fails(tmp_path, looks_ahead):
    results = run(Start(tmp_path, (("item-1", 99), ("item-4", 1)), looks_ahead), tmp_path)
    assert [result.item_id for result in results if result.outcome is Outcome.FAILED] == ["item-1"]
    assert "died" in results[1].error
    assert (tmp_path / "item-1.deaths").read_text() == "xx"  # tried twice


def test_an_error_at_the_start_is_raised_unchanged(tmp_path):
    with pytest.raises(EncoderError, match="no weights") as caught:
        run_with(OnDevices(("x:0", "x:1"), cannot_start), NAMES, item_id=str, folder=tmp_path)
    assert caught.value.hint == "fetch them"


def test_processes_that_die_at_the_start_are_an_error(tmp_path):
    with pytest.raises(FiveError, match="all processes died"):
        run_with(OnDevices(("x:0", "x:1"), dies), NAMES, item_id=str, folder=tmp_path)
