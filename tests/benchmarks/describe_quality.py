"""Measure descriptions against a table of reference answers.

The table is the reports table itself with a column ``category_<question_id>`` for every question
that has a reference: ``present``, ``absent`` or ``unknown`` for presence questions, a value of the
question or ``unknown`` for choice questions. Where it has ``clinical_margin_status`` (R0, R1, R2),
margins are compared with that too.

The rules of the shipped question sets were developed on 40 % of the patients (``--part develop``:
SHA-256 of the patient id, modulo 100, below 40); the other 60 % (``--part measure``) are for
measuring.

Example: python tests/benchmarks/describe_quality.py --reports reports.csv --descriptions descriptions
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections import Counter
from pathlib import Path

from sklearn.metrics import cohen_kappa_score, f1_score

from pipelines.core.schemas import ANSWERS

DEVELOPMENT_PERCENT = 40


def in_part(patient_id: str, part: str) -> bool:
    """Tell whether a patient belongs to the part of the table asked for."""
    develops = int(hashlib.sha256(patient_id.encode()).hexdigest(), 16) % 100 < DEVELOPMENT_PERCENT
    return part == "all" or develops == (part == "develop")


def category(answer: dict) -> str:
    """Return an answer in the words of the reference table."""
    return answer["value"] if answer["status"] == "value" else answer["status"]


def show(name: str, truth: list[str], given: list[str]) -> tuple[float, float]:
    """Print the figures of one question and return accuracy and macro-F1 over the classes of the reference."""
    classes = sorted(set(truth))
    accuracy = sum(a == b for a, b in zip(truth, given, strict=True)) / len(truth)
    macro_f1 = f1_score(truth, given, labels=classes, average="macro", zero_division=0)
    kappa = cohen_kappa_score(truth, given)
    majority = Counter(truth).most_common(1)[0][1] / len(truth)
    silent = truth.count("unknown") / len(truth)
    print(f"{name:<22} {len(truth):>5} {accuracy:>9.3f} {macro_f1:>9.3f} {kappa:>7.3f} {majority:>9.3f} {silent:>9.3f}")
    return accuracy, macro_f1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path, required=True, help="reports table with category_* columns")
    parser.add_argument("--descriptions", type=Path, required=True, help="folder of five describe-reports")
    parser.add_argument("--part", choices=["all", "develop", "measure"], default="all")
    arguments = parser.parse_args()

    with arguments.reports.open(newline="", encoding="utf-8") as stream:
        reference = {
            row["report_id"]: row for row in csv.DictReader(stream) if in_part(row["patient_id"], arguments.part)
        }
    answers = [
        row for row in ANSWERS.read_rows(arguments.descriptions / "answers.parquet") if row["report_id"] in reference
    ]
    print(f"{'question':<22} {'n':>5} {'accuracy':>9} {'macro-F1':>9} {'kappa':>7} {'majority':>9} {'unknown':>9}")
    figures = []
    for question in dict.fromkeys(row["question_id"] for row in answers):
        column = f"category_{question}"
        rows = [row for row in answers if row["question_id"] == question and column in reference[row["report_id"]]]
        if rows:
            figures.append(
                show(question, [reference[r["report_id"]][column] for r in rows], [category(r) for r in rows])
            )
    mean = [sum(values) / len(values) for values in zip(*figures, strict=True)]
    print(f"{'mean':<22} {'':>5} {mean[0]:>9.3f} {mean[1]:>9.3f}")
    quoted = [row for row in answers if row["evidence"] is not None]
    print(f"quotes located in their report: {sum(row['grounded'] for row in quoted)} of {len(quoted)}")
    clinical = {"R0": "clear", "R1": "involved", "R2": "involved"}
    rows = [
        (clinical[status], category(row))
        for row in answers
        if row["question_id"] == "margins"
        and (status := reference[row["report_id"]].get("clinical_margin_status", "")) in clinical
    ]
    if rows:
        print("\nmargins against the clinical record")
        show("margins", [truth for truth, _ in rows], [given for _, given in rows])


if __name__ == "__main__":
    main()
