import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.core.settings import TrainSettings
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching

PATIENTS = [tuple(f"p{patient} answers {question}" for question in range(6)) for patient in range(5)]


class _Model:
    """Returns fixed logits instead of those of a network."""

    device = torch.device("cpu")

    def __init__(self, logits):
        self.logits = logits

    def class_losses(self, bags, targets, classes):
        return functional.cross_entropy(self.logits, targets, reduction="none")


class _Bag:
    def __init__(self, slide_id):
        self.slide_id = slide_id


def rebuilt(settings, patients, seed):
    objective = DescriptionMatching({}, PATIENTS, settings)
    return objective._rebuilt(patients, 6, np.random.default_rng(seed))


def test_with_a_frozen_text_model_each_patient_has_at_most_text_variants_texts():
    frozen = TrainSettings(tuning="frozen", text_variants=7)
    steps = [rebuilt(frozen, PATIENTS, seed) for seed in range(200)]
    texts_of_first = {texts[0] for _, texts in steps}
    assert len({tuple(kept) for kept, _ in steps}) > 1
    assert 1 < len(texts_of_first) <= 7
    alone = {rebuilt(frozen, PATIENTS[:1], seed)[1][0] for seed in range(200)}
    assert alone == texts_of_first  # independent of the other patients in the step


def test_texts_hold_the_answers_to_the_kept_questions():
    for settings in (TrainSettings(), TrainSettings(tuning="frozen")):
        kept, texts = rebuilt(settings, PATIENTS, 3)
        for patient, text in enumerate(texts):
            assert sorted(text.split("; ")) == [f"p{patient} answers {question}" for question in kept]


def test_with_a_trainable_text_model_the_order_of_answers_changes_in_each_step():
    steps = [rebuilt(TrainSettings(max_dropped=0), PATIENTS, seed)[1][0] for seed in range(30)]
    assert len(set(steps)) > 25


def test_class_weights_scale_the_losses_of_their_slides():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.5, 0.0]])
    labels = {"s0": "rare", "s1": "common", "s2": "common"}
    objective = ClassMatching({"rare": ["a"], "common": ["b"]}, labels, {"rare": 1.5, "common": 0.75})
    loss = objective.loss(_Model(logits), [_Bag("s0"), _Bag("s1"), _Bag("s2")], np.random.default_rng(0))
    losses = [np.log1p(np.exp(-2.0)), np.log1p(np.exp(-1.0)), np.log1p(np.exp(0.5))]
    assert float(loss) == pytest.approx((1.5 * losses[0] + 0.75 * losses[1] + 0.75 * losses[2]) / 3)
