"""Run the benchmarks that need no data, one after another: ``make bench``.

``python -m tests.benchmarks NAME ...`` runs only the named ones. Each benchmark can also be run on its
own, with options (``python -m tests.benchmarks.tiling --help``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = {
    "reading": "CPU time to read tiles: OpenSlide, our reader, the decoder alone",
    "embedding": "five embed against the model alone and the reader alone; memory; writing; other tools (--peer)",
    "tiling": "five tile: CPU time, memory, batches, workers; other tools (--peer)",
    "training": "a training step: CPU time, memory, waiting for data; against padded bags and bare arithmetic",
    "report_length": "CPU time of describe-reports by the length of a report without sentence ends",
    "damage": "flipped bits, cut and zeroed artifacts that are noticed; cost of the digests",
    "scaling": "CPU time and memory at N and 2N reports, feature files, tiles of a bag and kept slides",
    "zero_shot": "comparing tiles with texts, against one matrix product",
    "large_bags": "linear-cost attention with up to 200,000 tiles",
}
WITH_DATA = {
    "filter_quality": "precision and recall of the tile filters on your own tiles, with added defects (--tiles)",
    "describe_quality": "a backend of describe-reports compared with reference answers (table, -o, --backend)",
    "joint_standin": "a stand-in for a joint encoder, from captions; its zero-shot AUC (table of tiles, -o)",
    "zero_shot_quality": "prediction without training by the rule of pooling, on composed slides (tiles, -o)",
    "study": "FiVE and all baselines: supervised, few-shot, zero-shot",
    "mean_pool_baseline": "mean features and logistic regression (features and runs of five train)",
}


def main() -> None:
    """Run the benchmarks; exit with the code of the first one that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}; all by default")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"{unknown[0]!r} is not one of {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode
        if code:
            sys.exit(code)
    print("\nThese benchmarks need your own data:")
    for name, purpose in WITH_DATA.items():
        print(f"  python -m tests.benchmarks.{name}: {purpose}")


if __name__ == "__main__":
    main()
