import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.core.settings import TrainSettings
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching

PATIENTS = [tuple(f"p{patient} answers {question}" for question in range(6)) for patient in range(5)]


class _Model:
    """Logits that are given, in place of a network."""

    device = torch.device("cpu")

    def __init__(self, logits):
        self.given = logits

    def class_losses(self, bags, targets, classes):
        return functional.cross_entropy(self.given, targets, reduction="none")


class _Bag:
    def __init__(self, slide_id):
        self.slide_id = slide_id


def rebuilt(settings, patients, seed):
    objective = DescriptionMatching({}, PATIENTS, settings)
    return objective._rebuilt(patients, 6, np.random.default_rng(seed))


def test_a_frozen_text_model_meets_each_patient_in_as_many_texts_as_there_are_variants():
    frozen = TrainSettings(tuning="frozen", text_variants=7)
    steps = [rebuilt(frozen, PATIENTS, seed) for seed in range(200)]
    texts_of_first = {texts[0] for _, texts in steps}
    assert len({tuple(kept) for kept, _ in steps}) > 1
    assert 1 < len(texts_of_first) <= 7
    alone = {rebuilt(frozen, PATIENTS[:1], seed)[1][0] for seed in range(200)}
    assert alone == texts_of_first  # who else is in the step does not matter


def test_texts_hold_the_answers_to_the_kept_questions_whatever_the_tuning():
    for settings in (TrainSettings(), TrainSettings(tuning="frozen")):
        kept, texts = rebuilt(settings, PATIENTS, 3)
        for patient, text in enumerate(texts):
            assert sorted(text.split("; ")) == [f"p{patient} answers {question}" for question in kept]


def test_a_text_model_that_learns_meets_new_orders_in_every_step():
    steps = [rebuilt(TrainSettings(max_dropped=0), PATIENTS, seed)[1][0] for seed in range(30)]
    assert len(set(steps)) > 25


def test_weights_of_classes_weigh_the_losses_of_their_slides():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    labels = {"s0": "rare", "s1": "common", "s2": "common"}
    objective = ClassMatching({"rare": ["a"], "common": ["b"]}, labels, {"rare": 1.5, "common": 0.75})
    loss = objective.loss(_Model(logits), [_Bag("s0"), _Bag("s1"), _Bag("s2")], np.random.default_rng(0))
    one = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(0.5))]
    assert float(loss) == pytest.approx((1.5 * one[0] + 0.75 * one[1] + 0.75 * one[2]) / 3)
