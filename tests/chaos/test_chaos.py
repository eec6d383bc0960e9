"""The short form of ``make chaos``, and tests of the harness itself: it must notice what it looks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.commands import Ended, fork
from tests.chaos.damage import DAMAGES, damage
from tests.chaos.faults import Fault, Operations
from tests.chaos.schedules import Schedule, _evenly_mixed
from tests.chaos.values import differences, values


def write_two_files(folder: Path, fault: Fault | None) -> Ended:
    def run() -> None:
        operations = Operations(folder, fault)
        operations.install()
        for name in "ab":
            (folder / f"{name}.part").write_text(name * 100)
            (folder / f"{name}.part").replace(folder / name)
        sys.stderr.write(json.dumps(operations.names))

    return fork(run).wait()


def test_opening_writing_and_renaming_are_counted(tmp_path: Path) -> None:
    names = json.loads(write_two_files(tmp_path, None).output)
    assert names == ["open a.part", "write a.part", "rename a", "open b.part", "write b.part", "rename b"]


@pytest.mark.parametrize(
    ("fault", "left"),
    [
        (Fault("kill", 2), {"a.part": 100}),
        (Fault("torn", 4), {"a": 100, "b.part": 50}),
        (Fault("kill", 6), {"a": 100, "b": 100}),
        (Fault("enospc", 3), {"a": 100}),
        (Fault("eio", 5), {"a": 100, "b.part": 100}),
        (Fault("limit", 60), {"a.part": 60}),
        (Fault("limit-kill", 60), {"a.part": 60}),
    ],
    ids=lambda value: f"{value.kind}-{value.at}" if isinstance(value, Fault) else "",
)
def test_a_fault_leaves_what_was_written_before_it(tmp_path: Path, fault: Fault, left: dict[str, int]) -> None:
    write_two_files(tmp_path, fault)
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == left


@pytest.mark.parametrize("code", ["raise ValueError", "os._exit(2)", "os.kill(os.getpid(), 15)"])
def test_a_command_without_a_message_is_a_problem(code: str) -> None:
    assert fork(lambda: exec(code)).wait().problem


def test_a_changed_value_is_named_and_times_are_not_compared(tmp_path: Path) -> None:
    for name, value in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        content = {"a": [0, value], "seconds": value, "path": str(tmp_path / name / "x")}
        (tmp_path / name / "file.json").write_text(json.dumps(content))
    assert differences(values(tmp_path / "one"), values(tmp_path / "two")) == [
        "file.json: /content/a/1 is '2', expected '1'"
    ]


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_changes_the_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    damage(path, how, seed=0)
    assert not path.exists() or path.read_bytes() != b"content"


def test_a_schedule_can_be_read_back_from_its_text() -> None:
    schedule = Schedule("tile", "damage", ("flip", "qc/a.jpg", "7"))
    assert Schedule.parse(str(schedule)) == schedule


def test_each_part_of_a_run_has_every_kind_in_its_proportion() -> None:
    groups = [[Schedule("tile", kind, ()) for _ in range(count)] for kind, count in (("fault", 20), ("kill", 4))]
    kinds = [schedule.kind for schedule in _evenly_mixed(groups)]
    assert [kinds[start : start + 6].count("kill") for start in (0, 6, 12, 18)] == [1, 1, 1, 1]


@pytest.mark.slow
def test_disturbed_stages_end_with_a_message_and_are_equal_after_running_again() -> None:
    # one per stage and kind; what is not reached in a minute is tried by `make chaos`
    command = [sys.executable, "-m", "tests.chaos", "--schedules", "1", "--seconds", "60"]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]
