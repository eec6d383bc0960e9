import os
import subprocess
import sys

import pytest

from pipelines.core.locks import EMPTY_SECONDS, item_lock

HOLDER = """
import sys
from pathlib import Path
from pipelines.core.locks import item_lock
with item_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_process(tmp_path):
    """Hold the lock of ``tmp_path / 'a.lock'`` in another process until its stdin closes."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "a.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.stdin.close()


def test_a_free_lock_is_acquired_and_removed_afterwards(tmp_path):
    with item_lock(tmp_path / "a.lock") as acquired:
        assert acquired
        assert (tmp_path / "a.lock").exists()
    assert not (tmp_path / "a.lock").exists()


def test_a_lock_of_another_process_is_not_acquired(tmp_path, other_process):
    with item_lock(tmp_path / "a.lock") as acquired:
        assert not acquired
    assert (tmp_path / "a.lock").exists()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, other_process):
    other_process.kill()
    other_process.wait()
    with item_lock(tmp_path / "a.lock") as acquired:
        assert acquired


def test_the_empty_lock_of_a_process_killed_while_creating_it_is_taken_over(tmp_path):
    (tmp_path / "a.lock").touch()
    with item_lock(tmp_path / "a.lock") as acquired:
        assert not acquired  # its process may be about to fill it
    with item_lock(tmp_path / "a.lock", wait=EMPTY_SECONDS * 3) as acquired:
        assert acquired
    (tmp_path / "a.lock").touch()
    os.utime(tmp_path / "a.lock", (0, 0))
    with item_lock(tmp_path / "a.lock") as acquired:
        assert acquired


def test_a_lock_that_is_held_is_not_acquired_however_long_it_is_waited_for(tmp_path, other_process, monkeypatch):
    monkeypatch.setattr("pipelines.core.locks.EMPTY_SECONDS", 0.1)
    with item_lock(tmp_path / "a.lock", wait=0.5) as acquired:
        assert not acquired


def test_an_exception_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), item_lock(tmp_path / "a.lock"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "a.lock").exists()
