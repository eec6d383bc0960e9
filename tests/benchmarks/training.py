"""CPU time, memory and data loading of a FiVE training step, compared with the published code.

Each measurement runs in its own process with one thread, on bags of random features with 512 channels.
The published network pads every bag to 16,384 tiles; the cost does not depend on their content, so it is
measured with a bag of that size in the same run. The targets were set by this project.

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
"""Tiles per bag."""
MIN_SPEEDUP = {1024: 70, 4096: 10}
"""Tiles per bag -> minimum speed-up over padded bags."""
LIMITS: Mapping[str, Mapping[int, float]] = {
    "peak": {1024: 130, 4096: 330},
    "lora": {1024: 1.0, 4096: 3.0},
    "frozen": {1024: 0.36, 4096: 2.4},
    "inference": {1024: 0.15, 4096: 0.9},
}
"""Measurement -> tiles per bag -> maximum, MB for the peak memory and CPU seconds per slide for the others."""
DESCRIPTIONS = {
    "lora": "training step, text model of BERT-base size with LoRA",
    "frozen": "training step, frozen text model with cached vectors",
    "inference": "inference, prompts and class texts already encoded",
}


def measured(module: str, *arguments: object, **variables: str) -> dict[str, float]:
    """Run a measurement in a single-threaded process with environment ``variables`` and return its values."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **variables}
    finished = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    values: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return values


def show(description: str, value: str, target: str, *, met: bool) -> None:
    """Print one result and its target, marked if it is missed."""
    print(f"  {description:<66} {value:>16}   {target}{'' if met else ' MISSED'}", flush=True)


def compare_visual() -> None:
    """Compare the visual part (forward and backward of one bag) with a padded bag and with its bare arithmetic."""
    print("\nVisual part of a training step, one slide, CPU seconds")
    spent = measured("training_steps", "visual", *SIZES)
    for n in SIZES:
        speedup, overhead = spent[f"five {PADDED}"] / spent[f"five {n}"], spent[f"five {n}"] / spent[f"bare {n}"]
        target = MIN_SPEEDUP[n]
        show(
            f"{n:,} tiles ({spent[f'five {PADDED}']:.1f} if padded to {PADDED:,})",
            f"{spent[f'five {n}']:.2f}",
            "",
            met=True,
        )
        show("  time of the padded bag / this", f"{speedup:.0f}x", f">= {target}x", met=speedup >= target)
        show("  this / its matrix products and attention alone", f"{overhead:.2f}x", "<= 1.15x", met=overhead <= 1.15)
    peaks = {n: measured("training_steps", "peak", n)["peak"] for n in (*SIZES, PADDED)}
    for n, peak in peaks.items():
        limit = LIMITS["peak"].get(n, float("inf"))
        target = f"<= {limit:g} MB" if n in SIZES else "(size of a padded bag)"
        show(f"peak memory, {n:,} tiles", f"{peak:.0f} MB", target, met=peak <= limit)


def compare_text() -> None:
    """Measure whole steps in batches of `SLIDES` slides."""
    print(f"\nCPU seconds per slide, batches of {SLIDES} slides, descriptions of 70 tokens")
    for n in SIZES:
        for name, seconds in measured("training_steps", "text", n).items():
            limit = LIMITS[name][n]
            show(f"{n:,} tiles, {DESCRIPTIONS[name]}", f"{seconds:.2f}", f"<= {limit}", met=seconds <= limit)


def compare_memory() -> None:
    """Compare the memory of a step with its estimate, without and with activation checkpointing."""
    print(f"\nPeak memory of a step on {SLIDES} slides of 1,024 tiles, packaged text model with LoRA")
    for recompute, name in ((0, "default"), (1, "--checkpoint-activations")):
        # the C library then returns freed memory immediately, so that the peak is that of the tensors
        memory = measured("training_steps", "memory", 1024, recompute, MALLOC_MMAP_THRESHOLD_="262144")
        factor = memory["peak"] / memory["estimate"]
        near = 0.8 <= factor <= 1.25
        line = f"{name}; estimate of --dry-run: {memory['estimate']:.0f} MB"
        show(line, f"{memory['peak']:.0f} MB", "within 1.25x of the estimate", met=near)


def compare_data() -> None:
    """Measure the time to read a bag, and the time that training waits for bags."""
    print("\nData loading")
    spent = measured("training_data", "reading")
    for name in (name for name in spent if name != "five"):
        speedup = spent[name] / spent["five"]
        line = f"4,096 tiles, CSV {name}: {spent[name]:.2f} CPU s; our HDF5: {spent['five'] * 1000:.1f} ms"
        show(line, f"{speedup:.0f}x", ">= 50x", met=speedup >= 50)
    waited = measured("training_data", "waiting")["percent"]
    show("share of time that training waits for data, without cache", f"{waited:.1f} %", "< 5 %", met=waited < 5)


def main() -> None:
    """Run all measurements; --skip-text leaves out the slowest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-text", action="store_true", help="skip the text model of BERT-base size")
    arguments = parser.parse_args()
    compare_data()
    compare_memory()
    compare_visual()
    if not arguments.skip_text:
        compare_text()


if __name__ == "__main__":
    main()
