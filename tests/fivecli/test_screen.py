from pathlib import Path

import pytest
import typer

from fivecli import screen
from fivecli.screen import FAILED_ITEMS, finish, progress
from pipelines.core.batch import Outcome, Result, Summary

DONE = Result("a", Outcome.DONE)


def test_facts_by_item_are_printed_on_a_line_each_up_to_a_maximum(capsys):
    conflicts = {f"s{n:02}": "cohort 0.25, metadata 0.5" for n in range(12)}
    finish(Summary(Path("out"), (DONE,), {"tiles": 7, "conflicts_of_mpp": conflicts}))
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:3] == ["  tiles: 7", "  conflicts of mpp:"]
    assert shown[3] == "    s00: cohort 0.25, metadata 0.5"
    assert shown[13:] == ["    and 2 more, see the tables", "written to out"]


def test_failed_items_have_their_own_exit_code():
    with pytest.raises(typer.Exit) as ended:
        finish(Summary(Path("out"), (DONE, Result("b", Outcome.FAILED, error="b: damaged"))))
    assert ended.value.exit_code == FAILED_ITEMS


def test_an_interrupted_run_says_how_to_resume(capsys):
    with pytest.raises(KeyboardInterrupt), progress("tile"):
        raise KeyboardInterrupt
    assert "interrupted; run the same command again to resume" in capsys.readouterr().err


def test_a_log_shows_rate_and_time_left_without_kept_items(capsys, monkeypatch):
    clock = iter(range(0, 1000, 20))  # every item takes 20 s
    monkeypatch.setattr(screen.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(screen.sys.stderr, "isatty", lambda: False)
    with progress("tile") as on_result:
        for outcome in (Outcome.KEPT, Outcome.DONE, Outcome.KEPT):
            on_result(Result("a", outcome, total=1003))
    assert capsys.readouterr().err.splitlines() == [
        "tile: 1/1003 slides",
        "tile: 2/1003 slides, 0.05 slides/s, 5:33:40 left",
        "tile: 3/1003 slides, 0.05 slides/s, 5:33:20 left",
    ]
