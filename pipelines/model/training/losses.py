"""Contrastive losses between bags and texts. A bag may have several correct texts."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(logits: Tensor, positives: Tensor, *, symmetric: bool) -> Tensor:
    """Return the contrastive loss of bags and candidate texts, a scalar.

    B bags, M texts.

    Parameters
    ----------
    logits
        (B, M) scaled cosine similarities.
    positives
        (B, M) True where the text belongs to the bag; at least one per row.
    symmetric
        Average the bag-to-text loss with the text-to-bag loss, over texts that belong to a bag of the batch.
    """
    image_to_text = matching_loss(logits, positives)
    if not symmetric:
        return image_to_text
    owned = positives.any(dim=0)
    return (image_to_text + matching_loss(logits[:, owned].T, positives[:, owned].T)) / 2


def matching_loss(logits: Tensor, positives: Tensor) -> Tensor:
    """Return the mean cross entropy of the rows; the positives of a row share the target equally."""
    log_probabilities = logits.float().log_softmax(dim=1)
    positive_terms = torch.where(positives, log_probabilities, torch.zeros_like(log_probabilities))
    return -(positive_terms.sum(dim=1) / positives.sum(dim=1)).mean()
