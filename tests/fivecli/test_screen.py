from pathlib import Path

import pytest
import typer

from fivecli.screen import FAILED_ITEMS, finish, progress
from pipelines.core.batch import Outcome, Result, Summary

DONE = Result("a", Outcome.DONE)


def test_figures_by_item_are_a_line_each_and_the_first_ones_of_many(capsys):
    conflicts = {f"s{n:02}": "cohort 0.25, metadata 0.5" for n in range(12)}
    finish(Summary(Path("out"), (DONE,), {"tiles": 7, "conflicts_of_mpp": conflicts}))
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:3] == ["  tiles: 7", "  conflicts of mpp:"]
    assert shown[3] == "    s00: cohort 0.25, metadata 0.5"
    assert shown[13:] == ["    and 2 more, see the tables", "written to out"]


def test_failed_items_end_with_an_exit_code_of_their_own():
    with pytest.raises(typer.Exit) as ended:
        finish(Summary(Path("out"), (DONE, Result("b", Outcome.FAILED, error="b: damaged"))))
    assert ended.value.exit_code == FAILED_ITEMS


def test_who_interrupts_a_run_is_told_how_to_go_on(capsys):
    with pytest.raises(KeyboardInterrupt), progress("tile"):
        raise KeyboardInterrupt
    assert "interrupted; the same command goes on" in capsys.readouterr().err
