import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipelines.core.batch import Outcome, Result, Summary, run_batch
from pipelines.core.errors import SlideError
from pipelines.core.locks import item_lock


@dataclass(frozen=True)
class Item:
    slide_id: str


@dataclass(frozen=True)
class Fragile:
    """Fails on 'bad', crashes on 'bug', dies on 'fatal'; leaves a mark for every call."""

    marks: Path

    def __call__(self, item: Item) -> Result:
        with (self.marks / item.slide_id.replace("/", "_")).open("a") as mark:
            mark.write("x")
        if item.slide_id == "bad":
            raise SlideError("bad: cannot be read", hint="scan it again")
        if item.slide_id == "bug":
            raise ZeroDivisionError("a bug")
        if item.slide_id == "fatal":
            os.kill(os.getpid(), signal.SIGKILL)
        return Result(item.slide_id, Outcome.DONE, {"slide_id": item.slide_id})


@pytest.fixture
def work(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    return Fragile(marks)


def run(names, work, tmp_path, **options):
    return run_batch([Item(name) for name in names], work, folder=tmp_path, **options)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_item_does_not_stop_the_batch(tmp_path, work, workers):
    results = run(["a", "bad", "bug", "b"], work, tmp_path, workers=workers)
    assert [(r.item_id, r.outcome.value) for r in results] == [
        ("a", "done"),
        ("bad", "failed"),
        ("bug", "failed"),
        ("b", "done"),
    ]


def test_a_failure_states_the_reason_and_the_fix_and_keeps_its_traceback(tmp_path, work):
    (result,) = run(["bad"], work, tmp_path)
    assert result.error == "bad: cannot be read (scan it again)"
    assert result.row["error_type"] == "SlideError"
    assert "SlideError" in (tmp_path / "errors/bad.txt").read_text()


def test_the_traceback_is_removed_when_the_item_succeeds(tmp_path, work):
    run(["bad"], work, tmp_path)
    assert (tmp_path / "errors/bad.txt").exists()
    run(["bad"], lambda item: Result(item.slide_id, Outcome.DONE), tmp_path)
    assert not (tmp_path / "errors/bad.txt").exists()


def test_a_bug_is_recorded_with_its_type_and_trace_file(tmp_path, work):
    (result,) = run(["bug"], work, tmp_path)
    assert "ZeroDivisionError" in result.error
    assert "bug.txt" in result.error


def test_a_worker_that_dies_fails_its_own_item_only(tmp_path, work):
    names = ["a", "b", "fatal", "c", "d", "e/f"]
    results = run(names, work, tmp_path, workers=2)
    assert [r.outcome for r in results] == [Outcome.FAILED if name == "fatal" else Outcome.DONE for name in names]
    assert "the worker process died" in results[2].error


def test_an_item_whose_lock_was_left_empty_by_a_killed_process_is_made(tmp_path, work):
    (tmp_path / ".locks").mkdir()
    (tmp_path / ".locks/a.lock").touch()
    assert [r.outcome for r in run(["a", "b"], work, tmp_path)] == [Outcome.DONE, Outcome.DONE]


@dataclass
class Noted:
    """Notes what is prepared and released, and in which folder marks of work are left."""

    marks: Path
    open: list[str] = field(default_factory=list)
    most: int = 0
    begun: dict[str, bool] = field(default_factory=dict)

    def prepare(self, item):
        self.begun[item.slide_id] = (self.marks / item.slide_id).exists()
        self.open.append(item.slide_id)
        self.most = max(self.most, len(self.open))

    def release(self, item):
        self.open.remove(item.slide_id)


@pytest.mark.parametrize("workers", [1, 2])
def test_items_are_prepared_before_their_turn_and_released_after_success_and_failure(tmp_path, work, workers):
    ahead = Noted(work.marks)
    names = ["a", "bad", "b", "bug", "fatal" if workers > 1 else "c", *"defghi"]
    run(names, work, tmp_path, workers=workers, ahead=ahead)
    assert ahead.begun == dict.fromkeys(names, False)
    assert ahead.open == []
    assert ahead.most <= workers + 4


def test_an_item_that_another_process_makes_is_skipped(tmp_path, work, monkeypatch):
    monkeypatch.setattr("pipelines.core.batch.run.LEASE_SECONDS", 0.01)
    with item_lock(tmp_path / ".locks/a.lock") as mine:
        assert mine
        results = run(["a", "b"], work, tmp_path)
    assert [r.outcome for r in results] == [Outcome.BUSY, Outcome.DONE]
    assert not (work.marks / "a").exists()


def test_results_are_reported_as_they_arrive(tmp_path, work):
    reported = []
    run(["a", "b"], work, tmp_path, on_result=lambda result: reported.append(result.item_id))
    assert reported == ["a", "b"]


def test_a_summary_counts_every_outcome(tmp_path, work):
    summary = Summary(tmp_path, tuple(run(["a", "bad"], work, tmp_path)))
    assert summary.counts == {"done": 1, "kept": 0, "empty": 0, "failed": 1, "busy": 0}
