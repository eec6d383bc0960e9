import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipelines.core.metrics.classification import FIGURES, confusion, measure, one_vs_rest_scores


def measured(labels, predicted, scores, *, patients=None, classes="ABC", resamples=0, seed=0):
    labels, scores = np.asarray(labels), np.asarray(scores, float)
    patients = patients or [f"p{k}" for k in range(len(labels))]
    found = measure(
        labels,
        np.asarray(predicted),
        scores,
        patients,
        classes=classes[: scores.shape[1]],
        resamples=resamples,
        seed=seed,
    )
    return dict(zip(FIGURES, found, strict=True))


def two_class(positive_scores):
    """Return (N, 2) scores whose second column is given."""
    scores = np.asarray(positive_scores, float)
    return np.stack([-scores, scores], axis=1)


def test_figures_of_a_table_counted_by_hand():
    """Labels A A A B; predictions A A B B."""
    found = measured([0, 0, 0, 1], [0, 0, 1, 1], two_class([0, 1, 3, 2]))
    assert found["accuracy"].value == 3 / 4
    assert found["balanced_accuracy"].value == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"].value == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["auc"].value == pytest.approx(2 / 3)  # B's 2 is above 0 and 1, below 3


def test_equal_scores_count_half():
    assert measured([0, 1], [0, 0], two_class([1, 1]))["auc"].value == 0.5


@given(seed=st.integers(0, 10_000), n=st.integers(6, 40), n_classes=st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_figures_agree_with_scikit_learn_and_with_counting_pairs(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(n_classes), rng.integers(0, n_classes, n - n_classes))
    logits = rng.integers(0, 6, (n, n_classes)).astype(float)  # small integers, so that there are ties
    predicted, scores = logits.argmax(axis=1), one_vs_rest_scores(logits)
    found = measured(labels, predicted, scores)
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"].value == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    by_pairs = [
        np.mean([(a > b) + (a == b) / 2 for a in scores[labels == k, k] for b in scores[labels != k, k]])
        for k in range(n_classes)
    ]
    assert found["auc"].value == pytest.approx(np.mean(by_pairs))
    if n_classes == 2:
        assert found["auc"].value == pytest.approx(sk.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_scores_are_log_odds_and_keep_their_order_where_probabilities_round_to_one():
    logits = np.array([[0.0, 50.0, 1.0], [0.0, 60.0, 1.0], [1.0, 2.0, 3.0]])
    scores = one_vs_rest_scores(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores[2] == pytest.approx(np.log(probabilities[2] / (1 - probabilities[2])))
    assert probabilities[0, 1] == probabilities[1, 1] == 1
    assert scores[1, 1] - scores[0, 1] == pytest.approx(10)


def test_the_interval_is_what_resampling_patients_one_by_one_gives():
    """An independent loop that counts pairs, other random numbers, same distribution."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(30), 2)
    labels = np.repeat(rng.integers(0, 2, 30), 2)
    scores = labels + rng.normal(0, 1, 60)
    found = measured(labels, scores > 0.5, two_class(scores), patients=[str(p) for p in patients], resamples=4000)[
        "auc"
    ]
    draws = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(0, 30, 30)])
        positive, negative = (scores[rows][labels[rows] == k] for k in (1, 0))
        draws.append(np.mean(positive[:, None] > negative))
    assert (found.low, found.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.01)


def test_slides_of_one_patient_are_drawn_together_so_the_interval_is_wider():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.tile([0, 1], 20), 5)
    predicted = np.repeat(rng.random(40) < 0.5, 5).astype(int)
    width = {}
    for name, patients in {"slides": None, "patients": [f"p{k // 5}" for k in range(200)]}.items():
        found = measured(labels, predicted, two_class(predicted), patients=patients, resamples=500)["accuracy"]
        width[name] = found.high - found.low
    assert width["patients"] > 1.8 * width["slides"]  # sqrt(5) = 2.2 in expectation


def test_the_seed_decides_the_interval_and_the_order_of_figures_is_fixed():
    labels = np.tile([0, 1], 15)
    predicted = np.where(np.arange(30) % 7, labels, 1 - labels)
    once, again, other = (
        measured(labels, predicted, two_class(predicted), resamples=200, seed=seed) for seed in (1, 1, 2)
    )
    assert once == again
    assert once["macro_f1"] != other["macro_f1"]


def test_one_class_alone_has_an_accuracy_and_nothing_else():
    found = measured([1, 1, 1], [1, 0, 1], two_class([2, 1, 3]), resamples=50)
    assert found["accuracy"].value == pytest.approx(2 / 3)
    for name in ("balanced_accuracy", "macro_f1", "auc"):
        assert found[name].value is None
        assert found[name].note == "every label is 'B'"


def test_a_class_that_no_slide_bears_is_named():
    found = measured([0, 1, 0], [0, 1, 1], np.eye(3)[[0, 1, 1]])
    assert found["auc"].note == "no label is C"
    assert found["accuracy"].note == ""


def test_too_few_patients_of_a_class_give_no_interval_rather_than_a_lucky_one():
    found = measured([0, 1], [0, 1], two_class([0, 1]), resamples=200)["auc"]
    assert (found.value, found.low, found.note) == (1.0, None, "no interval: 2 patients are too few")


def test_a_perfect_score_has_no_interval_of_width_zero():
    found = measured([0, 1] * 10, [0, 1] * 10, two_class([0, 1] * 10), resamples=200)["accuracy"]
    assert (found.value, found.low, found.note) == (1.0, None, "no interval: all resamples agree")


def test_nothing_to_count_is_said():
    found = measured(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), resamples=10)
    assert all(figure.value is None and figure.note == "nothing to count" for figure in found.values())


def test_confusion_has_labels_in_rows():
    assert confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
