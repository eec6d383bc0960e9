"""What the features allow: the answers learned from the truth, with the tiles that show the finding given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.benchmarks.composed.bags import SHOWN_BY, TUMOR, Bags, shows
from tests.benchmarks.composed.tiles import Tiles
from tests.benchmarks.composed.wordings import VISIBLE, WORDINGS

BY_NUMBER = {"extent": TUMOR, "inflammation": SHOWN_BY["inflammation"]}
"""Questions that ask for how many tiles are of a kind -> the kind."""
TILES = 20_000
"""Maximum number of tiles to learn a kind from."""


def ceilings(tiles: Tiles, training: Bags, test: Bags, rng: np.random.Generator) -> dict[str, float]:
    """Return the AUC on ``test`` bags for each visible question.

    Logistic regression on the mean of the tiles that show the finding; for questions about the number of tiles, the
    share of tiles that a classifier of single tiles finds. The true answers of all training bags are known.
    """
    found = {}
    for question in VISIBLE:
        place = list(WORDINGS).index(question)
        truth = test.answers[:, place] == 0
        if question in BY_NUMBER:
            scores = _shares(tiles, training, test, BY_NUMBER[question], rng)
        else:
            model = _regression().fit(_means(tiles, training, question), training.answers[:, place] == 0)
            scores = model.decision_function(_means(tiles, test, question))
        found[question] = float(roc_auc_score(truth, scores))
    return found


def _regression() -> LogisticRegressionCV:
    return make_pipeline(
        StandardScaler(), LogisticRegressionCV(Cs=np.logspace(-5, 0, 6), cv=3, scoring="roc_auc", max_iter=300)
    )


def _means(tiles: Tiles, bags: Bags, question: str) -> NDArray[np.float32]:
    """Return the mean of the tiles that show the finding, one row per bag."""
    shown = (rows[shows(bags, number, question)] for number, rows in enumerate(bags.rows))
    return np.stack([tiles.features[rows].astype(np.float32).mean(axis=0) for rows in shown])


def _shares(tiles: Tiles, training: Bags, test: Bags, kind: int, rng: np.random.Generator) -> NDArray[np.float64]:
    rows, is_kind = training.rows.ravel(), training.parts.ravel() == kind
    chosen = rng.permutation(len(rows))[:TILES]
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=[1e-3], cv=2, max_iter=300))
    model.fit(tiles.features[rows[chosen]].astype(np.float32), is_kind[chosen])
    seen = np.unique(test.rows)
    chance = model.predict_proba(tiles.features[seen].astype(np.float32))[:, 1]
    return np.asarray(chance[np.searchsorted(seen, test.rows)].mean(axis=1))
