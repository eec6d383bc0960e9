"""Baseline for every multiple-instance model: logistic regression on the mean features of a slide.

It uses the features and splits of runs of ``five train``, and the metrics of ``five evaluate``:

    python tests/benchmarks/mean_pool_baseline.py features runs/fold-* -o baseline

This writes ``baseline/<run>/predictions.parquet`` for each run and prints the metrics.
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

C_VALUES = np.logspace(-4, 2, 7)
"""Values of C (inverse regularization strength) that the inner cross-validation chooses from."""
INNER_FOLDS = 3
DEFAULT_C = 0.01
"""C if a class has fewer patients than there are inner folds."""


def fit(features: np.ndarray, labels: Sequence[str], patients: Sequence[str], *, seed: int) -> Any:
    """Fit on features (n_slides, D); C is chosen by 3-fold cross-validation over the patients of these slides."""
    model = LogisticRegression(C=DEFAULT_C, max_iter=5000, class_weight="balanced")
    of_class = {label: {p for p, own in zip(patients, labels, strict=True) if own == label} for label in labels}
    if min(map(len, of_class.values())) < INNER_FOLDS:
        return model.fit(features, labels)
    inner = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"C": C_VALUES}, scoring="neg_log_loss", cv=inner)
    return search.fit(features, labels, groups=patients)


def predict_run(pooled: dict[str, np.ndarray], run: Path, *, with_val: bool, seed: int) -> list[dict[str, Any]]:
    """Train on the training slides of ``run`` and return rows of the `PREDICTIONS` table for all labeled slides.

    Channels are standardized with all slides in ``pooled`` outside the test split, labeled or not.

    Parameters
    ----------
    pooled
        Slide id -> mean of its features, (D,).
    with_val
        Train on the validation slides too.
    """
    rows = [
        row
        for row in SPLITS.read_rows(run / "splits.parquet")
        if row["label"] and row["slide_id"] in pooled and not row["carried_from"]
    ]
    parts = ("train", "val") if with_val else ("train",)
    training = [row for row in rows if row["split"] in parts]
    tested = {row["slide_id"] for row in rows if row["split"] == "test"}
    reference = np.stack([vector for name, vector in pooled.items() if name not in tested])
    std = reference.std(axis=0)
    pooled = {name: (v - reference.mean(axis=0)) / np.where(std > 0, std, 1) for name, v in pooled.items()}
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
    predictions = []
    for row, scores, probs in zip(rows, logits, probabilities, strict=True):
        kept = {name: row[name] for name in ("slide_id", "patient_id", "label", "split")}
        columns = {f"prob_{c}": float(p) for c, p in zip(model.classes_, probs, strict=True)}
        columns |= {f"logit_{c}": float(s) for c, s in zip(model.classes_, scores, strict=True)}
        predictions.append({**kept, "predicted": str(model.classes_[scores.argmax()]), **columns})
    return predictions


def mean_features(folder: Path, slide_ids: Iterable[str]) -> dict[str, np.ndarray]:
    """Return slide id -> mean of its features, (D,), for the slides with tiles."""
    files = {name: folder / f"{name}.h5" for name in sorted(slide_ids)}
    bags = {name: read_bag(path).features for name, path in files.items() if path.exists()}
    return {name: features.mean(axis=0, dtype=np.float64) for name, features in bags.items() if len(features)}


def main() -> None:
    """Fit one model per run and print the metrics."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path, help="folder of five embed")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of five train; only splits.parquet is read")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the predictions")
    parser.add_argument("--with-val", action="store_true", help="train on the validation slides too")
    parser.add_argument("--seed", type=int, default=0, help="seed of the inner cross-validation")
    arguments = parser.parse_args()
    names = {row["slide_id"] for run in arguments.runs for row in SPLITS.read_rows(run / "splits.parquet")}
    pooled = mean_features(arguments.features, names)
    provenance = Provenance(
        {"model": "mean pooling + logistic regression", "with_val": arguments.with_val, "seed": arguments.seed}
    )
    folders = [arguments.out / run.name for run in arguments.runs]
    for run, folder in zip(arguments.runs, folders, strict=True):
        rows = predict_run(pooled, run, with_val=arguments.with_val, seed=arguments.seed)
        PREDICTIONS.write(folder / "predictions.parquet", rows, provenance)
    show_evaluation(evaluate(EvaluateInputs(folders), EvaluateSettings()))


if __name__ == "__main__":
    main()
