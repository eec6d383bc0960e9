"""Describe reports with one backend and compare the answers with reference answers.

The table is a reports table (report_id, patient_id, text) with an additional column
``category_<question_id>`` per question that has references: a value of the question, or ``unknown``.
If it has a column ``clinical_margin_status`` (R0, R1, R2), margins are also compared with that. For
other tables, run the two commands that this script runs: ``five describe-reports`` and
``five evaluate-descriptions --gold``.

The rules of the lung question sets were developed on 40 % of the patients (``--part develop``: SHA-256
of the patient id, modulo 100, is below 40). Use the others (``--part measure``) to measure quality.

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
MARGIN_OF_STATUS = {"R0": "clear", "R1": "involved", "R2": "involved"}
FIVE = (sys.executable, "-c", "from fivecli.app import main; main()")


def in_part(patient_id: str, part: str) -> bool:
    """Return whether a patient belongs to ``part``: develop, measure or all."""
    in_development = int(hashlib.sha256(patient_id.encode()).hexdigest(), 16) % 100 < DEVELOPMENT_PERCENT
    return part == "all" or in_development == (part == "develop")


def write_table(path: Path, rows: Iterable[Mapping[str, str]], columns: Sequence[str]) -> Path:
    """Write ``columns`` of a table as CSV and return its path."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def main() -> None:
    """Run the two commands; unknown options are passed on to ``five describe-reports``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, help="CSV of reports with category_* columns")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for the descriptions; an existing one is resumed"
    )
    parser.add_argument("--part", choices=["all", "develop", "measure"], default="all")
    arguments, options = parser.parse_known_args()

    with arguments.reports.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if in_part(row["patient_id"], arguments.part)]
    references = [name for name in rows[0] if name.startswith("category_")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reports = write_table(folder / "reports.csv", rows, ("report_id", "patient_id", "text"))
        subprocess.run([*FIVE, "describe-reports", str(reports), "-o", str(arguments.output), *options], check=True)
        evaluate = [*FIVE, "evaluate-descriptions", str(arguments.output), "--gold"]
        gold = write_table(folder / "gold.csv", rows, ("report_id", *references))
        subprocess.run([*evaluate, str(gold), "--column-prefix", "category_"], check=True)
        clinical = [
            {"report_id": row["report_id"], "margins": MARGIN_OF_STATUS[status]}
            for row in rows
            if (status := row.get("clinical_margin_status", "")) in MARGIN_OF_STATUS
        ]
        if clinical:
            print("\nMargins compared with the clinical record", flush=True)
            gold = write_table(folder / "clinical.csv", clinical, ("report_id", "margins"))
            subprocess.run([*evaluate, str(gold)], check=True)


if __name__ == "__main__":
    main()
