"""Agreement between given answers and reference answers: accuracy, macro F1 and kappa with bootstrap intervals.

N answers, C categories, R resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.bootstrap import interval, patient_weights
from pipelines.core.metrics.confusion import accuracy, f1_by_class, mean_over, weighted_confusion_tables
from pipelines.core.metrics.metric import Metric


@dataclass(frozen=True)
class AnswerAgreement:
    """How often one answer is right when it is given, and given when it is right."""

    answer: str
    n_reference: int
    """Number of times the reference has this answer."""
    n_given: int
    """Number of times this answer was given."""
    precision: Metric
    """Share of the given answers that the reference has too; undefined if it was never given."""
    recall: Metric
    """Share of the reference answers that were given too; undefined if the reference never has it."""


@dataclass(frozen=True)
class Agreement:
    """Agreement between the answers to one question and the reference."""

    question: str
    n: int
    """Number of answers compared."""
    n_patients: int
    accuracy: Metric
    macro_f1: Metric
    """Mean F1 over the categories that occur in the reference.

    The macro F1 of `classification.measure` also includes classes that are only predicted.
    """
    kappa: Metric
    """Cohen's kappa."""
    majority: float
    """Accuracy of always giving the most common reference answer."""
    unknown_in_reference: float
    """Share of unknown reference answers: the accuracy of always answering unknown."""
    unknown_given: float
    """Share of unknown answers among those given."""
    categories: tuple[str, ...]
    confusion: list[list[int]]
    """Rows are reference answers, columns given answers, in the order of ``categories``."""
    answers: tuple[AnswerAgreement, ...]
    """Precision and recall of each answer, the one that is rarest in the reference first."""


def compare(
    question: str,
    reference: Sequence[str],
    given: Sequence[str],
    patients: Sequence[str],
    *,
    order: Sequence[str] = (),
    unknown: str = "unknown",
    no_answer: str = "",
    resamples: int = 1000,
    seed: int = 0,
) -> Agreement:
    """Compare N given answers with their reference. Resamples draw whole patients.

    Parameters
    ----------
    order
        Order of the categories in the confusion table; others follow alphabetically.
    no_answer
        Category that is not an answer, such as a failed report; it has no precision or recall.
    """
    occurring = {*reference, *given}
    categories = tuple(dict.fromkeys([*(c for c in order if c in occurring), *sorted(occurring)]))
    index = {category: k for k, category in enumerate(categories)}
    tables = weighted_confusion_tables(
        np.array([index[answer] for answer in reference]),
        np.array([index[answer] for answer in given]),
        len(categories),
        *patient_weights(patients, resamples, seed),
    )
    in_reference = tables.sum(axis=2) > 0
    counts = Counter(reference)
    return Agreement(
        question,
        n=len(reference),
        n_patients=len(set(patients)),
        accuracy=_metric("accuracy", accuracy(tables)),
        macro_f1=_metric("macro_f1", mean_over(f1_by_class(tables), in_reference)),
        kappa=_metric("kappa", _kappa(tables)),
        majority=counts.most_common(1)[0][1] / len(reference),
        unknown_in_reference=counts[unknown] / len(reference),
        unknown_given=sum(answer == unknown for answer in given) / len(given),
        categories=categories,
        confusion=tables[0].astype(int).tolist(),
        answers=_by_answer([c for c in categories if c != no_answer], reference, given),
    )


def _by_answer(answers: Sequence[str], reference: Sequence[str], given: Sequence[str]) -> tuple[AnswerAgreement, ...]:
    """Return precision and recall of each answer, rare ones first."""
    both = Counter(one for one, other in zip(reference, given, strict=True) if one == other)
    in_reference, in_given = Counter(reference), Counter(given)
    rare_first = sorted(answers, key=lambda answer: in_reference[answer])
    return tuple(
        AnswerAgreement(
            answer,
            in_reference[answer],
            in_given[answer],
            precision=_share("precision", both[answer], in_given[answer]),
            recall=_share("recall", both[answer], in_reference[answer]),
        )
        for answer in rare_first
    )


def _share(name: str, count: int, total: int) -> Metric:
    """Return ``count`` / ``total`` with its Wilson interval.

    Resamples of three right answers are always right, so that a bootstrap interval would have no width. Wilson's takes
    answers as independent; it is too narrow if patients have many reports.
    """
    if not total:
        return Metric(name, None)
    from scipy.stats import binomtest

    ends = binomtest(count, total).proportion_ci(method="wilson")
    return Metric(name, count / total, float(ends.low), float(ends.high))


def _kappa(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Cohen's kappa (1 + R,); NaN where chance alone gives full agreement."""
    in_reference, in_given = tables.sum(axis=2), tables.sum(axis=1)  # (1 + R, C)
    by_chance = (in_reference * in_given).sum(axis=1) / tables.sum(axis=(1, 2)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance < 1, (accuracy(tables) - by_chance) / (1 - by_chance), np.nan)


def _metric(name: str, values: NDArray[np.float64]) -> Metric:
    """Return the metric from its values (1 + R,), the first of them for the original data."""
    if not np.isfinite(values[0]):
        return Metric(name, None)
    return Metric(name, float(values[0]), *(interval(values[1:]) or ()))
