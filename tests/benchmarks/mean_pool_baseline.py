"""Mean-pooled features + logistic regression on the splits of runs of ``five train``.

What every multiple-instance model has to beat. It sees the same features and the same
training slides, is tested on the same test slides, and is measured by ``five evaluate``:

    python tests/benchmarks/mean_pool_baseline.py features runs/fold-* -o baseline

writes ``baseline/<run>/predictions.parquet`` for each run and prints the figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

from fivecli.evaluate import show_evaluation
from pipelines.core.feature_file import read_bag
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PREDICTIONS, SPLITS
from pipelines.core.settings import EvaluateSettings
from pipelines.evaluate import EvaluateInputs, evaluate

STRENGTHS = np.logspace(-4, 2, 7)
"""Values of C from which the inner cross-validation chooses."""
FOLDS = 3
STRENGTH_OF_FEW = 0.01
"""C where a class has fewer patients than there are inner folds."""


def fit(features: np.ndarray, labels: Sequence[str], patients: Sequence[str], *, seed: int) -> Any:
    """Fit on (n_slides, D); C is chosen by 3-fold cross-validation over the patients of these slides."""
    model = LogisticRegression(C=STRENGTH_OF_FEW, max_iter=5000, class_weight="balanced")
    of_class = {label: {p for p, own in zip(patients, labels, strict=True) if own == label} for label in labels}
    if min(map(len, of_class.values())) < FOLDS:
        return model.fit(features, labels)
    inner = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"C": STRENGTHS}, scoring="neg_log_loss", cv=inner)
    return search.fit(features, labels, groups=patients)


def predict_run(pooled: dict[str, np.ndarray], run: Path, *, with_val: bool, seed: int) -> list[dict[str, Any]]:
    """Train on the training slides of ``run`` and return rows of the PREDICTIONS table for all of its slides.

    Channels are centred and scaled by all slides in ``pooled`` that are not tested, with label or without.
    """
    rows = [row for row in SPLITS.read_rows(run / "splits.parquet") if row["label"] and row["slide_id"] in pooled]
    parts = ("train", "val") if with_val else ("train",)
    training = [row for row in rows if row["split"] in parts]
    tested = {row["slide_id"] for row in rows if row["split"] == "test"}
    known = np.stack([vector for name, vector in pooled.items() if name not in tested])
    deviation = known.std(axis=0)
    pooled = {name: (v - known.mean(axis=0)) / np.where(deviation > 0, deviation, 1) for name, v in pooled.items()}
    model = fit(
        np.stack([pooled[row["slide_id"]] for row in training]),
        [row["label"] for row in training],
        [row["patient_id"] for row in training],
        seed=seed,
    )
    logits = model.decision_function(np.stack([pooled[row["slide_id"]] for row in rows]))
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], axis=1)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    found = []
    for row, scores, chances in zip(rows, logits, probabilities, strict=True):
        kept = {name: row[name] for name in ("slide_id", "patient_id", "label", "split")}
        columns = {f"prob_{c}": float(p) for c, p in zip(model.classes_, chances, strict=True)}
        columns |= {f"logit_{c}": float(s) for c, s in zip(model.classes_, scores, strict=True)}
        found.append({**kept, "predicted": str(model.classes_[scores.argmax()]), **columns})
    return found


def mean_features(folder: Path, slide_ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Return slide -> mean of its features, (D,), of the slides that have any."""
    files = {name: folder / f"{name}.h5" for name in sorted(slide_ids)}
    bags = {name: read_bag(path).features for name, path in files.items() if path.exists()}
    return {name: features.mean(axis=0, dtype=np.float64) for name, features in bags.items() if len(features)}


def main() -> None:
    """Read the command line, fit one model a run, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="folder of five embed")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of five train; only splits.parquet is read")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--with-val", action="store_true", help="train on the validation slides too")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    names = {row["slide_id"] for run in wanted.runs for row in SPLITS.read_rows(run / "splits.parquet")}
    pooled = mean_features(wanted.features, names)
    made = Provenance({"model": "mean pooling + logistic regression", "with_val": wanted.with_val, "seed": wanted.seed})
    folders = [wanted.out / run.name for run in wanted.runs]
    for run, folder in zip(wanted.runs, folders, strict=True):
        rows = predict_run(pooled, run, with_val=wanted.with_val, seed=wanted.seed)
        PREDICTIONS.write(folder / "predictions.parquet", rows, made)
    show_evaluation(evaluate(EvaluateInputs(folders), EvaluateSettings()))


if __name__ == "__main__":
    main()
