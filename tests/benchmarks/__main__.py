"""Run the benchmarks that need no data of yours, one after the other: ``make bench``.

``python -m tests.benchmarks NAME ...`` runs some of them; each also runs alone, with options
(``python -m tests.benchmarks.tiling --help``).
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = {
    "reading": "tiles per CPU second: OpenSlide, our reader, the decoder alone",
    "embedding": "five embed against the model, the reader and a fast device alone; memory, writing; peers by --peer",
    "tiling": "five tile: CPU time, memory, batches, workers; peers by --peer",
    "training": "a training step: CPU time, memory, waiting for data; against padded bags and bare arithmetic",
    "large_bags": "attention of linear cost, up to 200,000 tiles",
}
WITH_DATA = {
    "filter_quality": "precision and recall of the tile filters on sound tiles of yours, spoilt by it (--tiles)",
    "describe_quality": "any backend of describe-reports against a table of reference answers (table, -o, --backend)",
    "study": "FiVE and all baselines: supervised, few-shot, zero-shot",
    "mean_pool_baseline": "what a model has to beat (features and runs of five train)",
}


def main() -> None:
    """Run the benchmarks asked for; leave with the exit code of the first that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all if left out")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark without data is called {unknown[0]}")
    for name in names:
        print(f"\n== {name}: {BENCHMARKS[name]}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}"], check=False).returncode
        if code:
            sys.exit(code)
    print("\nThese need data of yours:")
    for name, purpose in WITH_DATA.items():
        print(f"  python -m tests.benchmarks.{name}: {purpose}")


if __name__ == "__main__":
    main()
