import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix, f1_score

from pipelines.core.metrics.agreement import compare

CATEGORIES = ["clear", "involved", "unknown"]


def random_answers(n=200, seed=0):
    rng = np.random.default_rng(seed)
    reference = rng.choice(CATEGORIES, n, p=[0.6, 0.1, 0.3])
    given = np.where(rng.random(n) < 0.7, reference, rng.choice([*CATEGORIES, "failed"], n))
    return reference.tolist(), given.tolist(), [f"p{i // 2}" for i in range(n)]


def test_the_figures_are_those_of_scikit_learn():
    reference, given, patients = random_answers()
    found = compare("margins", reference, given, patients, order=[*CATEGORIES, "failed"], resamples=0)
    assert found.accuracy.value == pytest.approx(accuracy_score(reference, given))
    macro_f1 = f1_score(reference, given, labels=CATEGORIES, average="macro")
    assert found.macro_f1.value == pytest.approx(macro_f1)
    assert found.kappa.value == pytest.approx(cohen_kappa_score(reference, given))
    assert found.categories == (*CATEGORIES, "failed")
    assert found.confusion == confusion_matrix(reference, given, labels=found.categories).tolist()
    assert (found.n, found.n_patients) == (200, 100)


def test_intervals_are_percentiles_over_resampled_patients():
    """The same draws by brute force: every patient of a draw brings all of its answers."""
    reference, given, patients = random_answers(40)
    found = compare("margins", reference, given, patients, resamples=300, seed=5)
    names = sorted(set(patients))
    draws = np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / len(names)), size=300)
    values = []
    for draw in draws:
        rows = [i for name, times in zip(names, draw, strict=True) for _ in range(times) for i in index(patients, name)]
        values.append(cohen_kappa_score([reference[i] for i in rows], [given[i] for i in rows]))
    assert (found.kappa.low, found.kappa.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def index(values, wanted):
    return [i for i, value in enumerate(values) if value == wanted]


def test_the_trivial_answers_are_told_beside():
    found = compare("q", ["a", "a", "a", "unknown"], ["a", "unknown", "unknown", "unknown"], list("pqrs"), resamples=0)
    assert (found.majority, found.unknown_in_reference, found.unknown_given) == (0.75, 0.25, 0.75)


def test_kappa_is_not_defined_where_everything_agrees_by_chance():
    found = compare("q", ["unknown"] * 3, ["unknown"] * 3, list("pqr"), resamples=100)
    assert found.kappa.value is None
    assert found.accuracy.value == 1.0


def test_no_resamples_give_no_interval():
    reference, given, patients = random_answers()
    assert compare("q", reference, given, patients, resamples=0).accuracy.low is None
