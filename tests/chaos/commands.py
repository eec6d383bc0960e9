"""Run ``five`` commands: in forked children of a process that has imported everything, or as real processes."""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.faults import Fault, Operations

TIMEOUT_SECONDS = 150
"""Longer than a run waits for a lock. A command that takes longer counts as hanging."""
TRACEBACK = "Traceback (most recent call last):"
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code, or minus the number of the signal."""
    output: str
    """Its stdout and stderr."""
    hung: bool = False

    @property
    def was_killed(self) -> bool:
        """Whether the harness killed it."""
        return -self.code in (signal.SIGKILL, signal.SIGXFSZ)

    @property
    def problem(self) -> str:
        """What is wrong with this end; empty for success, a kill, an error with a message, or failed items."""
        last = self.output.strip().splitlines()[-1:]
        if self.hung:
            return f"hangs for {TIMEOUT_SECONDS} s"
        if TRACEBACK in self.output:
            lines = self.output.split(TRACEBACK, 1)[1].splitlines()
            return f"uncaught: {next((line for line in lines if line and line[0] != ' '), lines)}"
        if self.was_killed or self.code == 0:
            return ""
        if self.code == 1 and "error: " in self.output:
            return ""
        if self.code == 3 and "failed" in self.output:
            return ""
        return f"exit code {self.code}: {last}"


class Command:
    """A running command."""

    def __init__(self, pid: int, stream: int, popen: subprocess.Popen[bytes] | None = None) -> None:
        self._pid, self._stream, self._popen = pid, stream, popen
        self._text = b""

    def wait(self, kill_after: float | None = None) -> Ended:
        """Return how the command ended; kill it ``kill_after`` seconds from now."""
        deadline = time.monotonic() + (TIMEOUT_SECONDS if kill_after is None else kill_after)
        done = self._read(deadline)
        if not done:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._read(time.monotonic() + TIMEOUT_SECONDS)
        os.close(self._stream)
        code = self._popen.wait() if self._popen else os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return Ended(code, self._text.decode("utf-8", "replace"), hung=not done and kill_after is None)

    def _read(self, deadline: float) -> bool:
        """Read until the end of the output, and return True, or until ``deadline``."""
        while select.select([self._stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            data = os.read(self._stream, 1 << 16)
            if not data:
                return True
            self._text += data
        return False


def fork(function: Callable[[], None]) -> Command:
    """Run ``function`` in a child process whose output is read; an exception ends it as it ends Python."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Command(pid, reading)
    code = 1
    try:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.stdout, sys.stderr = open(1, "w", 1, closefd=False), open(2, "w", 1, closefd=False)  # noqa: SIM115
        function()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - shown as Python shows it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def five(arguments: Sequence[str], out: Path, fault: Fault | None = None) -> Command:
    """Start ``five ARGUMENTS`` in a child, with a fault in its operations below ``out``."""

    def run() -> None:
        from fivecli.app import main

        sys.argv = ["five", *arguments]
        if fault:
            Operations(out, fault).install()
        main()

    return fork(run)


def five_process(arguments: Sequence[str]) -> Command:
    """Start ``five ARGUMENTS`` as a process of its own, for commands that start worker processes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fivecli", *arguments]
    reading, writing = os.pipe()
    process = subprocess.Popen(command, env=environment, stdout=writing, stderr=writing)
    os.close(writing)
    return Command(process.pid, reading, process)


def returned(function: Callable[[], Any], scratch: Path) -> Any:
    """Return what ``function`` returns in a child process, so that its libraries start no threads in this one.

    Raises
    ------
    RuntimeError
        The function raises an exception.
    """

    def run() -> None:
        scratch.write_bytes(pickle.dumps(function()))

    ended = fork(run).wait()
    if ended.code:
        raise RuntimeError(ended.output)
    result = pickle.loads(scratch.read_bytes())
    scratch.unlink()
    return result


def modules_and_operations(arguments: Sequence[str], out: Path) -> tuple[list[str], list[str]]:
    """Run ``five ARGUMENTS`` here (in a child) and return the modules it imports and its operations below ``out``."""
    from fivecli.app import main

    sys.argv = ["five", *arguments]
    operations = Operations(out, None)
    operations.install()
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"five {' '.join(arguments)}: exit code {end.code}") from end
    return list(sys.modules), operations.names


def import_all(names: Sequence[str]) -> None:
    """Import modules, so that children need not. Modules that cannot be imported here are left to them."""
    for name in names:
        if name not in sys.modules and not name.startswith(("__", "tests.chaos", "five_own")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
