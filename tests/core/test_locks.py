import os
import subprocess
import sys
import time

import pytest

from pipelines.core.locks import UNNAMED_SECONDS, item_lock, remove_dead_locks

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


def test_a_lock_that_is_held_is_not_acquired_however_long_it_is_waited_for(tmp_path, other_process, monkeypatch):
    monkeypatch.setattr("pipelines.core.locks.UNNAMED_SECONDS", 0.1)
    with item_lock(tmp_path / "a.lock", wait=0.5) as acquired:
        assert not acquired


def test_an_exception_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), item_lock(tmp_path / "a.lock"):
        1 / 0  # noqa: B018
    assert not (tmp_path / "a.lock").exists()


@pytest.mark.parametrize("content", ["", "filelock/2\npid=12"], ids=["empty", "cut off"])
@pytest.mark.parametrize("age", [0.0, 60.0])
def test_a_lock_without_the_name_of_its_holder_is_taken_over(tmp_path, content, age):
    """A process was killed while it wrote the lock; at once nobody can know that it is dead."""
    path = tmp_path / "a.lock"
    path.write_text(content)
    os.utime(path, (time.time() - age, time.time() - age))
    started = time.monotonic()
    with item_lock(path) as acquired:
        assert acquired
    assert not path.exists()
    assert (time.monotonic() - started > UNNAMED_SECONDS / 2) == (age == 0)


def test_locks_of_dead_processes_are_removed_and_those_of_living_ones_stay(tmp_path, other_process):
    text = (tmp_path / "a.lock").read_text()
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    gone = f"pid={ended.stdout.decode().strip()}"
    (tmp_path / "dead.lock").write_text(text.replace(f"pid={other_process.pid}", gone))
    remove_dead_locks(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]
