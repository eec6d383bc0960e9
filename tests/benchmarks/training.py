"""A training step of FiVE: CPU time, memory and data, against what the published code computes.

Each measurement is a process of its own with one thread; bags are of random features of 512 channels.
The published network pads every bag to 16,384 tiles, whose cost does not depend on what is in them: it
is measured as a bag of that size, in the same run. The limits are those this project set itself.

Example: python -m tests.benchmarks.training --skip-text
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping

from tests.benchmarks.training_steps import PADDED, SLIDES

SIZES = (1024, 4096)
AT_LEAST_TIMES = {1024: 70, 4096: 10}
LIMITS: Mapping[str, Mapping[int, float]] = {
    "peak": {1024: 130, 4096: 330},
    "lora": {1024: 1.0, 4096: 3.0},
    "frozen": {1024: 0.36, 4096: 2.4},
    "inference": {1024: 0.15, 4096: 0.9},
}
WHAT = {
    "lora": "whole step, text model of BERT-base's size with LoRA",
    "frozen": "whole step, text model frozen, its vectors kept",
    "inference": "inference, prompts and class texts encoded before",
}


def measured(module: str, *arguments: object, **variables: str) -> dict[str, float]:
    """Run a measurement in a process with one thread and ``variables``, and return what it printed."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **variables}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(what: str, value: str, limit: str, *, met: bool) -> None:
    """Print one line."""
    print(f"  {what:<66} {value:>16}   {'' if met else 'NOT '}{limit}", flush=True)


def compare_visual() -> None:
    """Visual side: forward and backward pass of one bag, against padding and against its bare arithmetic."""
    print("\nVisual side, one training step of one slide, CPU-s")
    spent = measured("training_steps", "visual", *SIZES)
    for n in SIZES:
        times, over = spent[f"five {PADDED}"] / spent[f"five {n}"], spent[f"five {n}"] / spent[f"bare {n}"]
        least = AT_LEAST_TIMES[n]
        show(
            f"{n:,} tiles; padded to {PADDED:,}: {spent[f'five {PADDED}']:.1f}",
            f"{spent[f'five {n}']:.2f}",
            "",
            met=True,
        )
        show("  padded / it", f"{times:.0f}x", f">= {least}x", met=times >= least)
        show("  it / its matrix products and attention alone", f"{over:.2f}x", "<= 1.15x", met=over <= 1.15)
    peaks = {n: measured("training_steps", "peak", n)["peak"] for n in (*SIZES, PADDED)}
    for n, peak in peaks.items():
        limit = LIMITS["peak"].get(n, float("inf"))
        said = f"<= {limit:g} MB" if n in SIZES else "as padded"
        show(f"peak memory, {n:,} tiles", f"{peak:.0f} MB", said, met=peak <= limit)


def compare_text() -> None:
    """Whole steps a slide, in batches of `SLIDES` with 16 other texts."""
    print(f"\nA slide in batches of {SLIDES}, descriptions of 70 tokens, CPU-s")
    for n in SIZES:
        for name, seconds in measured("training_steps", "text", n).items():
            limit = LIMITS[name][n]
            show(f"{n:,} tiles, {WHAT[name]}", f"{seconds:.2f}", f"<= {limit}", met=seconds <= limit)


def compare_memory() -> None:
    """A batch with the packaged text model: measured, estimated, and with activations computed twice."""
    print(f"\nMemory of a step on {SLIDES} slides of 1,024 tiles, packaged text model with LoRA")
    for twice, what in ((0, "as it is"), (1, "--checkpoint-activations")):
        # the C library then returns what is freed at once, so that the peak is that of tensors
        found = measured("training_steps", "memory", 1024, twice, MALLOC_MMAP_THRESHOLD_="262144")
        factor = found["peak"] / found["estimate"]
        near = 0.8 <= factor <= 1.25
        line = f"{what}; --dry-run says {found['estimate']:.0f} MB"
        show(line, f"{found['peak']:.0f} MB", "within 1.25x of it", met=near)


def compare_data() -> None:
    """Reading a bag, and waiting for bags."""
    print("\nData")
    spent = measured("training_data", "reading")
    for name in (name for name in spent if name != "five"):
        times = spent[name] / spent["five"]
        line = f"bag of 4,096 tiles, CSV {name}: {spent[name]:.2f} CPU-s; ours {spent['five'] * 1000:.1f} ms"
        show(line, f"{times:.0f}x", ">= 50x", met=times >= 50)
    waited = measured("training_data", "waiting")["percent"]
    show("training waits for data that are not kept in memory", f"{waited:.1f} % of time", "< 5 %", met=waited < 5)


def main() -> None:
    """Measure all, or all but the slow part with a large text model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-text", action="store_true", help="leave out the text model of BERT-base's size")
    arguments = parser.parse_args()
    compare_data()
    compare_memory()
    compare_visual()
    if not arguments.skip_text:
        compare_text()


if __name__ == "__main__":
    main()
