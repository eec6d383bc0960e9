import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
)

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


def test_precision_and_recall_of_each_answer_equal_those_of_scikit_learn():
    reference, given, patients = random_answers()
    agreement = compare("margins", reference, given, patients, no_answer="failed", resamples=0)
    by_name = {answer.answer: answer for answer in agreement.answers}
    precision, recall, _, counts = precision_recall_fscore_support(reference, given, labels=CATEGORIES)
    assert by_name.keys() == set(CATEGORIES)  # a failed report gives no answer
    assert [by_name[name].precision.value for name in CATEGORIES] == pytest.approx(precision)
    assert [by_name[name].recall.value for name in CATEGORIES] == pytest.approx(recall)
    assert [by_name[name].n_reference for name in CATEGORIES] == list(counts)
    assert [by_name[name].n_given for name in CATEGORIES] == [given.count(name) for name in CATEGORIES]


def test_the_rarest_answer_of_the_reference_comes_first():
    agreement = compare("q", ["a"] * 3 + ["b"] + ["c"] * 2, ["a"] * 5 + ["d"], list("123456"))
    assert [answer.answer for answer in agreement.answers] == ["d", "b", "c", "a"]


def test_three_right_answers_of_three_do_not_prove_that_all_are_right():
    """Wilson's interval for n of n is n / (n + z^2) to 1, with z = 1.96."""
    (answer,) = compare("q", ["a"] * 3, ["a"] * 3, list("123")).answers
    assert (answer.recall.value, answer.recall.high) == (1, pytest.approx(1))
    assert answer.recall.low == pytest.approx(3 / (3 + 1.959964**2), abs=1e-6)


def test_precision_and_recall_are_undefined_where_nothing_is_counted():
    only_given, only_reference = compare("q", ["a"], ["b"], ["1"]).answers
    assert (only_given.answer, only_given.precision.value, only_given.recall.value) == ("b", 0, None)
    assert (only_reference.answer, only_reference.precision.value, only_reference.recall.value) == ("a", None, 0)
    assert only_given.recall.low is None
