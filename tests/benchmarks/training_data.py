"""Measure how fast bags are read from our HDF5 and from CSV, and how long training waits for them.

``python -m tests.benchmarks.training_data NAME`` prints JSON for `tests.benchmarks.training`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import torch

from pipelines.core.provenance import Provenance
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.core.settings import TrainSettings
from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.training.accelerator import make_accelerator
from pipelines.model.training.fitters import fitter_of
from pipelines.model.training.resume import ResumeFile
from pipelines.model.training.run import TrainInputs, prepare_run
from tests.benchmarks.training_steps import PADDED, WIDTH, in_turn
from tests.synthetic_features import write_bag

TILES = 4096
"""Tiles per slide."""
SLIDES = 16


def random_features(seed: int) -> np.ndarray:
    """Return random features of a slide, (TILES, 512)."""
    return np.random.default_rng(seed).normal(size=(TILES, WIDTH))


def read_as_published(path: Path) -> np.ndarray:
    """Return a bag as the published loader does: through nested lists, zero-padded to (16384, 512), float64."""
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32).tolist()
    return np.array(rows + [[0.0] * WIDTH] * (PADDED - len(rows)))


def measure_reading() -> dict[str, float]:
    """Return the CPU seconds to read a whole bag of `TILES` tiles, by method."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        features = random_features(0)
        write_bag(folder, "bag", features)
        np.savetxt(folder / "bag.csv", features, fmt="%.6f", delimiter=",")
        reader, bag = BagReader(cache_bytes=0), BagFile("bag", folder / "bag.h5", TILES)
        options = pyarrow.csv.ReadOptions(autogenerate_column_names=True, use_threads=False)
        methods = {
            "five": lambda: reader.evaluation(bag, TILES),
            "as published": lambda: read_as_published(folder / "bag.csv"),
            "parsed by pyarrow": lambda: pyarrow.csv.read_csv(folder / "bag.csv", options),
        }
        return in_turn(methods, 3)


def measure_waiting() -> dict[str, float]:
    """Return the percentage of two epochs spent waiting for data, without caching bags in memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for number in range(SLIDES):
            write_bag(folder, f"s{number}", random_features(number))
            rows.append({"slide_id": f"s{number}", "patient_id": f"p{number}", "status": "ok"})
        EMBEDDED_SLIDES.write(folder / "slides.parquet", rows, Provenance({}))
        labels = [f"s{number},p{number},{'ab'[number % 2]}" for number in range(SLIDES)]
        (folder / "cohort.csv").write_text("\n".join(["slide_id,patient_id,label", *labels]))
        (folder / "classes.yaml").write_text("classes: {a: [glands of tumor cells], b: [sheets of tumor cells]}")
        settings = TrainSettings(regime="finetune", epochs=2, tile_ratio=0.25)
        inputs = TrainInputs(folder, folder / "cohort.csv", classes=folder / "classes.yaml")
        run = prepare_run(inputs, settings)
        uncached = replace(run, data=replace(run.data, reader=BagReader(cache_bytes=0)))
        accelerator = make_accelerator(run.settings, "cpu")
        model, resume = run.make_model(), ResumeFile(folder / "resume", run_id="")
        progress = fitter_of(model).fit(model, uncached, resume, accelerator, lambda _: None)
    return {"percent": 100 * progress.waited / progress.seconds}


MEASUREMENTS = {"reading": measure_reading, "waiting": measure_waiting}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(MEASUREMENTS[sys.argv[1]]()))
