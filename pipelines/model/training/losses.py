"""Contrastive losses between bags and texts; several texts may be right for a bag."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(logits: Tensor, positives: Tensor, *, symmetric: bool) -> Tensor:
    """Return the loss of bags against candidate texts, a scalar.

    B bags, M texts.

    Parameters
    ----------
    logits
        (B, M) scaled cosines.
    positives
        (B, M) True where the text belongs to the bag; at least one in each row.
    symmetric
        Also ask each text that belongs to a bag of the batch for its bags, and take the mean of both.
    """
    image_to_text = matching_loss(logits, positives)
    if not symmetric:
        return image_to_text
    owned = positives.any(dim=0)
    return (image_to_text + matching_loss(logits[:, owned].T, positives[:, owned].T)) / 2


def matching_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Return the mean cross entropy of the rows, the target shared evenly by the positives of a row."""
    log_probabilities = logits.float().log_softmax(dim=1)
    chosen = torch.where(positives, log_probabilities, torch.zeros_like(log_probabilities))
    return -(chosen.sum(dim=1) / positives.sum(dim=1)).mean()
