"""Run commands and measure what the whole process used: CPU, wall time, peak memory.

Nothing large may be imported here or by those who use it: the peak memory of a child, as the
kernel counts it, is at least that of the process that started it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Usage:
    """What one process and the children it waited for used."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    """Seconds."""
    peak: float
    """Largest resident memory of one of its processes, MB."""


def usage_of(command: Sequence[str], *, directory: Path | None = None) -> Usage:
    """Run ``command`` and return what it used.

    Raises
    ------
    RuntimeError
        It failed; the message holds the end of what it wrote.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} left with {process.returncode}:\n{said.decode()[-2000:]}")
    return Usage(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * 1024 / 1e6)


def middle(runs: Sequence[Usage]) -> Usage:
    """Return the medians of several runs."""
    return Usage(*(median(getattr(run, name) for run in runs) for name in ("cpu", "wall", "peak")))


def print_table(title: str, found: Mapping[str, Usage], reference: str) -> None:
    """Print one line a way, with its CPU time as a multiple of that of ``reference``."""
    print(f"\n{title}")
    print(f"  {'':<34} {'CPU s':>7} {'x':>6} {'wall s':>7} {'peak MB':>8}")
    for name, used in found.items():
        ratio = used.cpu / found[reference].cpu
        print(f"  {name:<34} {used.cpu:>7.2f} {ratio:>6.2f} {used.wall:>7.2f} {used.peak:>8.0f}", flush=True)
