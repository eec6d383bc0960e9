import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from pipelines.core.metrics.classification import METRIC_NAMES, measure, one_vs_rest_scores
from pipelines.core.metrics.confusion import confusion_table


def measured(labels, predicted, scores, *, patients=None, classes="ABC", resamples=0, seed=0):
    labels, scores = np.asarray(labels), np.asarray(scores, float)
    patients = patients or [f"p{k}" for k in range(len(labels))]
    metrics = measure(
        labels,
        np.asarray(predicted),
        scores,
        patients,
        classes=classes[: scores.shape[1]],
        resamples=resamples,
        seed=seed,
    )
    return {metric.name: metric for metric in metrics}


def two_class(positive_scores):
    """Return (N, 2) scores with the given second column."""
    scores = np.asarray(positive_scores, float)
    return np.stack([-scores, scores], axis=1)


def test_metrics_of_a_table_counted_by_hand():
    """Labels A A A B; predictions A A B B."""
    metrics = measured([0, 0, 0, 1], [0, 0, 1, 1], two_class([0, 1, 3, 2]))
    assert metrics["accuracy"].value == 3 / 4
    assert metrics["balanced_accuracy"].value == pytest.approx((2 / 3 + 1) / 2)
    assert metrics["macro_f1"].value == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics["auc"].value == pytest.approx(2 / 3)  # B's 2 is above 0 and 1, below 3


def test_equal_scores_count_half():
    assert measured([0, 1], [0, 0], two_class([1, 1]))["auc"].value == 0.5


@given(seed=st.integers(0, 10_000), n=st.integers(6, 40), n_classes=st.integers(2, 3))
@settings(max_examples=60, deadline=None)
def test_metrics_equal_those_of_scikit_learn_and_of_counting_pairs(seed, n, n_classes):
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(n_classes), rng.integers(0, n_classes, n - n_classes))
    logits = rng.integers(0, 6, (n, n_classes)).astype(float)  # small integers give ties
    predicted, scores = logits.argmax(axis=1), one_vs_rest_scores(logits)
    metrics = measured(labels, predicted, scores)
    assert metrics["accuracy"].value == pytest.approx(sk.accuracy_score(labels, predicted))
    assert metrics["balanced_accuracy"].value == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert metrics["macro_f1"].value == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    by_pairs = [
        np.mean([(a > b) + (a == b) / 2 for a in scores[labels == k, k] for b in scores[labels != k, k]])
        for k in range(n_classes)
    ]
    assert metrics["auc"].value == pytest.approx(np.mean(by_pairs))
    if n_classes == 2:
        assert metrics["auc"].value == pytest.approx(sk.roc_auc_score(labels, logits[:, 1] - logits[:, 0]))


def test_scores_are_log_odds_and_stay_ordered_where_probabilities_round_to_one():
    logits = np.array([[0.0, 50.0, 1.0], [0.0, 60.0, 1.0], [1.0, 2.0, 3.0]])
    scores = one_vs_rest_scores(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert scores[2] == pytest.approx(np.log(probabilities[2] / (1 - probabilities[2])))
    assert probabilities[0, 1] == probabilities[1, 1] == 1
    assert scores[1, 1] - scores[0, 1] == pytest.approx(10)


def test_the_interval_agrees_with_resampling_patients_in_a_loop():
    """The loop counts pairs and uses other random numbers with the same distribution."""
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(30), 2)
    labels = np.repeat(rng.integers(0, 2, 30), 2)
    scores = labels + rng.normal(0, 1, 60)
    auc = measured(labels, scores > 0.5, two_class(scores), patients=[str(p) for p in patients], resamples=4000)["auc"]
    draws = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(patients == p) for p in rng.integers(0, 30, 30)])
        positive, negative = (scores[rows][labels[rows] == k] for k in (1, 0))
        draws.append(np.mean(positive[:, None] > negative))
    assert (auc.low, auc.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.01)


def test_drawing_whole_patients_widens_the_interval():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.tile([0, 1], 20), 5)
    predicted = np.repeat(rng.random(40) < 0.5, 5).astype(int)
    width = {}
    for name, patients in {"slides": None, "patients": [f"p{k // 5}" for k in range(200)]}.items():
        accuracy = measured(labels, predicted, two_class(predicted), patients=patients, resamples=500)["accuracy"]
        width[name] = accuracy.high - accuracy.low
    assert width["patients"] > 1.8 * width["slides"]  # sqrt(5) = 2.2 in expectation


def test_the_seed_determines_the_interval():
    labels = np.tile([0, 1], 15)
    predicted = np.where(np.arange(30) % 7, labels, 1 - labels)
    once, again, other = (
        measured(labels, predicted, two_class(predicted), resamples=200, seed=seed) for seed in (1, 1, 2)
    )
    assert once == again
    assert once["macro_f1"] != other["macro_f1"]


def test_metrics_come_in_the_order_of_their_names():
    assert tuple(measured([0, 1], [0, 1], two_class([0, 1]))) == METRIC_NAMES


def test_labels_of_a_single_class_define_only_the_accuracy():
    metrics = measured([1, 1, 1], [1, 0, 1], two_class([2, 1, 3]), resamples=50)
    assert metrics["accuracy"].value == pytest.approx(2 / 3)
    for name in ("balanced_accuracy", "macro_f1", "auc"):
        assert metrics[name].value is None
        assert metrics[name].note == "every label is 'B'"


def test_a_class_without_slides_is_named_in_the_note():
    metrics = measured([0, 1, 0], [0, 1, 1], np.eye(3)[[0, 1, 1]])
    assert metrics["auc"].note == "no label is C"
    assert metrics["accuracy"].note == ""


def test_too_few_patients_of_a_class_give_no_interval():
    auc = measured([0, 1], [0, 1], two_class([0, 1]), resamples=200)["auc"]
    assert (auc.value, auc.low, auc.note) == (1.0, None, "no interval: 2 patients are too few")


def test_a_perfect_score_has_no_interval_of_width_zero():
    accuracy = measured([0, 1] * 10, [0, 1] * 10, two_class([0, 1] * 10), resamples=200)["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.note) == (1.0, None, "no interval: all resamples agree")


def test_metrics_of_no_predictions_say_so():
    metrics = measured(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), resamples=10)
    assert all(metric.value is None and metric.note == "nothing to count" for metric in metrics.values())


def test_the_confusion_table_has_labels_in_rows():
    assert confusion_table(np.array([0, 0, 1]), np.array([0, 1, 1]), 3).tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
