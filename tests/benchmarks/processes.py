"""Run commands and measure CPU time, wall time and peak memory of whole processes.

This module and the modules that use it must not import anything large: Linux reports at least the
memory of the parent as the peak memory of a child.
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
    """Resources used by a process and its finished children."""

    cpu: float
    """Seconds, user and system."""
    wall: float
    """Seconds."""
    peak: float
    """Peak resident memory of its largest process, MB."""


def usage_of(command: Sequence[str], *, directory: Path | None = None) -> Usage:
    """Run ``command`` on one thread and return its resource usage.

    Raises
    ------
    RuntimeError
        The command failed; the message holds the end of its output.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    with subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} failed with exit code {process.returncode}:\n{output.decode()[-2000:]}"
        )
    return Usage(used.ru_utime + used.ru_stime, wall, used.ru_maxrss * 1024 / 1e6)


def median_usage(runs: Sequence[Usage]) -> Usage:
    """Return the median of each value over several runs."""
    return Usage(*(median(getattr(run, name) for run in runs) for name in ("cpu", "wall", "peak")))


def print_table(title: str, usages: Mapping[str, Usage], reference: str) -> None:
    """Print one line per method, with its CPU time as a multiple of that of ``reference``."""
    print(f"\n{title}")
    print(f"  {'':<34} {'CPU s':>7} {'x':>6} {'wall s':>7} {'peak MB':>8}")
    for name, used in usages.items():
        ratio = used.cpu / usages[reference].cpu
        print(f"  {name:<34} {used.cpu:>7.2f} {ratio:>6.2f} {used.wall:>7.2f} {used.peak:>8.0f}", flush=True)
