"""How much damage to artifacts is noticed, and what the digests cost.

The table has one row per kind of artifact: bits flipped one at a time, files cut, and blocks set to zero. ``silent``
must be 0. The costs are measured on slides of 5,000 tiles with 1,024 channels: processor time of all checks, as a share
of embedding with an encoder that takes no time, and of training the small model `abmil` without caching features.

Example: python -m tests.benchmarks.damage --flips 1000
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow.parquet as pq

from pipelines.core import feature_file, parquet_digest, sealed_hdf5
from pipelines.core.feature_file import features_current, read_bag
from pipelines.core.schemas import EMBEDDED_SLIDES, TILES
from pipelines.core.settings import TrainSettings
from pipelines.model.data.bags import BagReader
from pipelines.reports.journal import Journal
from pipelines.train import TrainInputs, train
from tests.benchmarks.embedding import FixedRate, Tiled, run_stage
from tests.benchmarks.tiling import draw_slide
from tests.damage import MADE, SAMPLES, outcomes
from tests.synthetic_features import PROVENANCE, write_bag

N_TILES, DIM, DRAWN = 5000, 1024, 1024
"""Tiles per slide, channels, and tiles that a training step draws by default."""
SLIDES, EPOCHS, REPORTS = 12, 3, 5000
CHECKS = (
    (feature_file, "row_checksums"),
    (sealed_hdf5, "checked_record"),
    (sealed_hdf5.Hdf5Artifact, "seal"),
    (parquet_digest, "read_checked"),
    (parquet_digest, "with_digest"),
)
"""Everything that was added for integrity; reading the bytes of a table is included."""


def damage(flips: int) -> None:
    """Print the outcomes of damage to every kind of artifact."""
    print(f"{'artifact':<20}{'flips':>7}{'noticed':>9}{'harmless':>10}{'silent':>8}   cut or zeroed: tried, silent")
    total = 0
    for sample in SAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            found = outcomes(sample, Path(folder), flips)
        bits, other = found["flips"], found["cuts"] + found["zeros"]
        total += bits.total()
        counts = f"{bits['noticed']:>9}{bits['harmless']:>10}{bits['silent']:>8}"
        print(f"{sample.name:<20}{bits.total():>7}{counts}{other.total():>18}{other['silent']:>8}", flush=True)
    print(f"{'total':<20}{total:>7}")


def milliseconds(work: Callable[[], object], rounds: int = 9) -> float:
    """Return the median wall time of ``work``."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


@contextmanager
def timing() -> Iterator[dict[str, float]]:
    """Yield the processor seconds of each check, which are complete when the block ends."""
    spent = {name: 0.0 for _, name in CHECKS}

    def timed(name: str, check: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = time.thread_time()
            try:
                return check(*arguments, **options)
            finally:
                spent[name] += time.thread_time() - started

        return call

    with ExitStack() as stack:
        for owner, name in CHECKS:
            stack.enter_context(patch.object(owner, name, timed(name, getattr(owner, name))))
        yield spent


def share(title: str, work: Callable[[], object]) -> None:
    """Print the processor time of the checks as a share of that of ``work``."""
    started = time.process_time()
    with timing() as spent:
        work()
    total, checks = time.process_time() - started, sum(spent.values())
    print(f"{title}: {1000 * checks:.0f} of {1000 * total:.0f} ms of processor time, {checks / total:.2%} (limit 3 %)")


def features(folder: Path) -> None:
    """Print the cost of the checks when a feature file is written and read, alone and within the stages."""
    slide, work = draw_slide(folder / "drawn.svs", 8000), folder / "out"
    tiled = Tiled(folder / "tiles", slide, 224, N_TILES, stride=64)
    share(f"\nembedding {N_TILES} tiles", lambda: run_stage(tiled, work, FixedRate(0, DIM), threads=1))
    rows = []
    for number in range(SLIDES):
        write_bag(folder / "features", f"s{number}", np.random.default_rng(number).normal(size=(N_TILES, DIM)))
        rows.append({"slide_id": f"s{number}", "patient_id": f"p{number}", "status": "ok"})
    EMBEDDED_SLIDES.write(folder / "features" / "slides.parquet", rows, PROVENANCE)
    labels = [f"s{number},p{number},{'ab'[number % 2]}" for number in range(SLIDES)]
    (folder / "cohort.csv").write_text("\n".join(["slide_id,patient_id,label", *labels]))
    settings = TrainSettings(model="abmil", regime="finetune", epochs=EPOCHS)
    inputs = TrainInputs(folder / "features", folder / "cohort.csv")
    with patch.object(BagReader.__init__, "__kwdefaults__", {"cache_bytes": 0}):
        share(f"training on {SLIDES} slides", lambda: train(inputs, folder / "run", settings))
    path, drawn = folder / "features" / "s0.h5", np.arange(DRAWN) * (N_TILES // DRAWN)
    for title, read in (("all rows", lambda: read_bag(path)), (f"{DRAWN} rows", lambda: read_bag(path, drawn))):
        with timing() as spent:
            read()
        print(f"  reading {title}: {milliseconds(read):.1f} ms, of which checks {1000 * sum(spent.values()):.1f} ms")
    print(f"  features_current: {milliseconds(lambda: features_current(path, PROVENANCE)):.1f} ms")


def tables(folder: Path, number: int = 1000) -> None:
    """Print the time to find out whether many tile tables are current, and to open a long journal."""
    tiles = [{"x": 512 * (k % 70), "y": 512 * (k // 70), "focus": k / 7, "keep": k % 3 > 0} for k in range(N_TILES)]
    TILES.write(folder / "0.parquet", tiles, MADE)
    content = (folder / "0.parquet").read_bytes()
    paths = [folder / f"{k}.parquet" for k in range(number)]
    for path in paths:
        path.write_bytes(content)
    print(f"\n{number} tile tables of {N_TILES} tiles ({len(content) / 1e3:.0f} kB), warm file cache")
    print(f"  schema alone: {milliseconds(lambda: [pq.read_schema(path) for path in paths], 3):.0f} ms")
    print(f"  is_current: {milliseconds(lambda: [TILES.is_current(path, MADE) for path in paths], 3):.0f} ms")
    answers = {f"question {k}": {"status": "present", "evidence": "some words of the report"} for k in range(20)}
    with patch("os.fsync"), Journal(folder / "descriptions") as journal:
        for k in range(REPORTS):
            journal.append({"report_id": f"r{k}", "work": "1", "status": "ok", "answers": answers})
    print(f"opening a journal of {REPORTS} reports: {milliseconds(lambda: Journal(folder / 'descriptions'), 3):.0f} ms")


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=600, help="flipped bits per kind of artifact")
    flips = parser.parse_args().flips
    logging.disable(logging.WARNING)  # the journal reports damaged lines
    damage(flips)
    with tempfile.TemporaryDirectory() as name:
        features(Path(name))
    with tempfile.TemporaryDirectory() as name:
        tables(Path(name))


if __name__ == "__main__":
    main()
