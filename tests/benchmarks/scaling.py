"""CPU time and peak memory of stages at N and 2N items: a ratio above `MAX_RATIO` shows cost that is not linear.

Inputs are generated first and not measured. Memory is the rise of the peak during the measured call.

Example: python -m tests.benchmarks.scaling --scale 0.1 reports planning
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

MAX_RATIO = 2.2
"""Largest ratio that counts as linear."""
SIZES = {"reports": 25_000, "planning": 2_500, "step": 100_000, "bag": 100_000, "kept_slides": 300}
Work = Callable[[], object]


def reports(folder: Path, number: int) -> Work:
    """``five describe-reports`` with ``rules`` and three questions, so that the rest of the work is most of it."""
    import csv

    from pipelines.core.question_files import load_questions, write_questions
    from pipelines.core.settings import DescribeReportsSettings
    from pipelines.describe_reports import DescribeReportsInputs, describe_reports

    lung = load_questions("lung")
    write_questions(lung.model_copy(update={"questions": lung.questions[:3]}), folder / "questions.yaml")
    text = "Carcinoma, poorly differentiated. The visceral pleura is invaded. Block {}. Margins are free of tumor."
    with (folder / "reports.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["report_id", "patient_id", "text"])
        table.writerows([f"r{n}", f"p{n}", text.format(n)] for n in range(number))
    settings = DescribeReportsSettings(questions=str(folder / "questions.yaml"))
    return lambda: describe_reports(DescribeReportsInputs(folder / "reports.csv"), folder / "out", settings)


def planning(folder: Path, number: int) -> Work:
    """Open the inputs of ``five train`` and plan it, then plan ``five predict`` for all slides."""
    from pipelines.core.classes import write_classes
    from pipelines.core.provenance import Provenance
    from pipelines.core.schemas import EMBEDDED_SLIDES
    from pipelines.core.settings import PredictSettings, TrainSettings
    from pipelines.model.training.run import TrainInputs, prepare_run
    from pipelines.predict import PredictInputs, plan
    from pipelines.train import train
    from tests.synthetic_features import write_bag

    rng = np.random.default_rng(0)
    names = [f"s{n}" for n in range(number)]
    for name in names:
        write_bag(folder / "features", name, rng.normal(size=(20, 16)))
    rows = [{"slide_id": name, "patient_id": f"p{name}", "status": "ok"} for name in names]
    EMBEDDED_SLIDES.write(folder / "features" / "slides.parquet", rows, Provenance({}))
    lines = [f"{name},p{name},{'ab'[n % 2]}" for n, name in enumerate(names)]
    for table, some in (("cohort.csv", lines), ("few.csv", lines[:40])):
        (folder / table).write_text("\n".join(["slide_id,patient_id,label", *some]))
    write_classes({"a": ["glands"], "b": ["sheets"]}, folder / "classes.yaml")
    settings = TrainSettings(model="abmil", regime="finetune", epochs=1)
    few = TrainInputs(folder / "features", folder / "few.csv", classes=folder / "classes.yaml")
    train(few, folder / "run", settings)
    inputs = TrainInputs(folder / "features", folder / "cohort.csv", classes=folder / "classes.yaml")

    def work() -> None:
        prepare_run(inputs, settings)
        plan(PredictInputs(folder / "features", folder / "run"), folder / "out", PredictSettings())

    return work


def step(_: Path, number: int) -> Work:
    """A training step of the visual part with one bag of ``number`` tiles and linear-cost attention."""
    from tests.benchmarks.training_steps import visual_step

    return visual_step(number, exact_up_to=0)


def bag(_: Path, number: int) -> Work:
    """Vector and attention map of a bag of ``number`` tiles, as in ``five predict``."""
    from tests.benchmarks.large_bags import encode_random_bag

    return lambda: encode_random_bag("linear", number)


def kept_slides(folder: Path, number: int) -> Work:
    """``five tile`` again on slides that are all tiled, which rewrites ``slides.parquet``."""
    from pipelines.core.settings import TileSettings
    from pipelines.tile import TileInputs, tile
    from tests.slide_files import tissue_drawing, write_lossless_slide

    first = write_lossless_slide(folder / "slides" / "s0.tif", tissue_drawing(512, 512, [(64, 448, 64, 448)]), 0.5)
    for n in range(1, number):
        (folder / "slides" / f"s{n}.tif").hardlink_to(first)
    work = lambda: tile(TileInputs(folder / "slides"), folder / "tiles", TileSettings())  # noqa: E731
    work()
    return work


def measure(name: str, number: int) -> dict[str, float]:
    """Return CPU seconds and the rise of the memory peak, MB, of one call in this process."""
    from tests.benchmarks.training_steps import peak_mb

    with tempfile.TemporaryDirectory() as folder:
        work = globals()[name](Path(folder), number)
        before = sum(os.times()[:4])  # of this process and its children
        peak = peak_mb(work)
        return {"cpu": sum(os.times()[:4]) - before, "mb": peak}


def measured(name: str, number: int) -> dict[str, float]:
    """Return what `measure` returns in a new process."""
    code = f"import json; from tests.benchmarks.scaling import measure; print(json.dumps(measure({name!r}, {number})))"
    lines = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(lines.splitlines()[-1]))


def main() -> None:
    """Print a line per job; exit with 1 if a ratio of CPU times or of memory is above `MAX_RATIO`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"one of {', '.join(SIZES)}; all by default")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of items")
    arguments = parser.parse_args()
    print(f"{'job':<12} {'N':>9} {'CPU s at N, 2N':>18} {'ratio':>6} {'MB at N, 2N':>16} {'ratio':>6}")
    above = False
    for name in arguments.jobs or SIZES:
        number = max(2, round(SIZES[name] * arguments.scale))
        one, two = measured(name, number), measured(name, 2 * number)
        cpu, memory = (two[key] / max(one[key], 1e-3) for key in ("cpu", "mb"))
        above |= max(cpu, memory) > MAX_RATIO
        seconds, megabytes = f"{one['cpu']:.1f}, {two['cpu']:.1f}", f"{one['mb']:.0f}, {two['mb']:.0f}"
        print(f"{name:<12} {number:>9,} {seconds:>18} {cpu:>6.2f} {megabytes:>16} {memory:>6.2f}", flush=True)
    sys.exit(above)


if __name__ == "__main__":
    main()
