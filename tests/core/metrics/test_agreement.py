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


def test_metrics_equal_those_of_scikit_learn():
    reference, given, patients = random_answers()
    agreement = compare("margins", reference, given, patients, order=[*CATEGORIES, "failed"], resamples=0)
    assert agreement.accuracy.value == pytest.approx(accuracy_score(reference, given))
    macro_f1 = f1_score(reference, given, labels=CATEGORIES, average="macro")
    assert agreement.macro_f1.value == pytest.approx(macro_f1)
    assert agreement.kappa.value == pytest.approx(cohen_kappa_score(reference, given))
    assert agreement.categories == (*CATEGORIES, "failed")
    assert agreement.confusion == confusion_matrix(reference, given, labels=agreement.categories).tolist()
    assert (agreement.n, agreement.n_patients) == (200, 100)


def test_intervals_are_percentiles_over_resampled_patients():
    """Repeat the same resamples by brute force: a drawn patient contributes all of their answers."""
    reference, given, patients = random_answers(40)
    agreement = compare("margins", reference, given, patients, resamples=300, seed=5)
    names = sorted(set(patients))
    draws = np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / len(names)), size=300)
    values = []
    for draw in draws:
        rows = [i for name, n in zip(names, draw, strict=True) for _ in range(n) for i in positions(patients, name)]
        values.append(cohen_kappa_score([reference[i] for i in rows], [given[i] for i in rows]))
    assert (agreement.kappa.low, agreement.kappa.high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])))


def positions(values, wanted):
    return [i for i, value in enumerate(values) if value == wanted]


def test_the_accuracies_of_trivial_answers_are_reported():
    agreement = compare(
        "q", ["a", "a", "a", "unknown"], ["a", "unknown", "unknown", "unknown"], list("pqrs"), resamples=0
    )
    assert (agreement.majority, agreement.unknown_in_reference, agreement.unknown_given) == (0.75, 0.25, 0.75)


def test_kappa_is_undefined_if_chance_alone_gives_full_agreement():
    agreement = compare("q", ["unknown"] * 3, ["unknown"] * 3, list("pqr"), resamples=100)
    assert agreement.kappa.value is None
    assert agreement.accuracy.value == 1.0


def test_no_resamples_give_no_interval():
    reference, given, patients = random_answers()
    assert compare("q", reference, given, patients, resamples=0).accuracy.low is None
