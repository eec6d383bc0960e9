import math

import pytest
import torch

from pipelines.model.training.losses import contrastive_loss, matching_loss


def cross_entropy(logits, target):
    return math.log(sum(math.exp(v) for v in logits)) - logits[target]


def test_image_to_text_is_the_mean_cross_entropy_over_the_candidates():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 3.0]])
    positives = torch.tensor([[True, False, False], [False, True, False]])
    expected = (cross_entropy([2, 0, -1], 0) + cross_entropy([0.5, 1, 3], 1)) / 2
    assert contrastive_loss(logits, positives, symmetric=False).item() == pytest.approx(expected, rel=1e-6)


def test_the_symmetric_loss_uses_only_the_texts_of_the_batch_in_the_other_direction():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 3.0]])
    positives = torch.tensor([[True, False, False], [False, True, False]])  # the third text belongs to another patient
    forward = (cross_entropy([2, 0, -1], 0) + cross_entropy([0.5, 1, 3], 1)) / 2
    backward = (cross_entropy([2, 0.5], 0) + cross_entropy([0, 1], 1)) / 2
    loss = contrastive_loss(logits, positives, symmetric=True).item()
    assert loss == pytest.approx((forward + backward) / 2, rel=1e-6)


def test_bags_with_the_same_text_share_its_target():
    logits = torch.tensor([[1.0], [3.0]])
    positives = torch.tensor([[True], [True]])
    backward = (cross_entropy([1, 3], 0) + cross_entropy([1, 3], 1)) / 2
    assert matching_loss(logits.T, positives.T).item() == pytest.approx(backward, rel=1e-6)


def test_a_candidate_of_logit_minus_infinity_gives_no_nan_gradient():
    logits = torch.tensor([[1.0, -math.inf]], requires_grad=True)
    matching_loss(logits, torch.tensor([[True, False]])).backward()
    assert torch.isfinite(logits.grad).all()
