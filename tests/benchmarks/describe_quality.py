"""Describe reports with any backend and measure the answers against a table of references, in one command.

The table is a reports table (report_id, patient_id, text) that also has a column
``category_<question_id>`` for every question with a reference: a value of the question, or ``unknown``.
Where it has ``clinical_margin_status`` (R0, R1, R2), the margins are also compared with that.
Other tables need only the two commands that this runs: ``five describe-reports`` and
``five evaluate-descriptions --gold``.

The rules of the set `lung` were developed on 40 % of the patients (``--part develop``: SHA-256 of the
patient id, modulo 100, below 40); the others (``--part measure``) are for measuring.

Example: python -m tests.benchmarks.describe_quality reports.csv -o descriptions --backend vllm --model MODEL
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

DEVELOPMENT_PERCENT = 40
CLINICAL = {"R0": "clear", "R1": "involved", "R2": "involved"}
FIVE = (sys.executable, "-c", "from fivecli.app import main; main()", "describe-reports")


def in_part(patient_id: str, part: str) -> bool:
    """Tell whether a patient belongs to the part of the table asked for."""
    develops = int(hashlib.sha256(patient_id.encode()).hexdigest(), 16) % 100 < DEVELOPMENT_PERCENT
    return part == "all" or develops == (part == "develop")


def write_table(path: Path, rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> Path:
    """Write some columns of a table and return its path."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def main() -> None:
    """Run the two commands; options that are not of this script go to ``five describe-reports``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, help="CSV of reports with category_* columns")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder of descriptions, a new one or one to go on"
    )
    parser.add_argument("--part", choices=["all", "develop", "measure"], default="all")
    arguments, options = parser.parse_known_args()

    with arguments.reports.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if in_part(row["patient_id"], arguments.part)]
    references = [name for name in rows[0] if name.startswith("category_")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked = write_table(folder / "reports.csv", rows, ("report_id", "patient_id", "text"))
        subprocess.run([*FIVE, str(asked), "-o", str(arguments.output), *options], check=True)
        evaluate = [*FIVE, "evaluate", str(arguments.output), "--gold"]
        gold = write_table(folder / "gold.csv", rows, ("report_id", *references))
        subprocess.run([*evaluate, str(gold), "--column-prefix", "category_"], check=True)
        known = [
            {"report_id": row["report_id"], "margins": CLINICAL[status]}
            for row in rows
            if (status := row.get("clinical_margin_status", "")) in CLINICAL
        ]
        if known:
            print("\nthe margins against the clinical record", flush=True)
            gold = write_table(folder / "clinical.csv", known, ("report_id", "margins"))
            subprocess.run([*evaluate, str(gold)], check=True)


if __name__ == "__main__":
    main()
