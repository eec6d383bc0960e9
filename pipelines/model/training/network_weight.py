"""Test whether a pretrained network has learned more than the patients it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import Answers, full_text
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.slide_vectors import slide_vectors

MIN_LIKELIHOOD_GAIN = 2.7
"""Minimum gain in log-likelihood over uniform guessing. It is half of 5.41, the value that the likelihood-ratio
statistic with one non-negative factor exceeds in 1 of 100 networks that have learned nothing."""


def matches_slides_to_descriptions(
    network: FiveModel, answers: Mapping[str, Answers], data: Data, *, max_tiles: int
) -> bool:
    """Return whether ``network`` finds the slide that belongs to a description among the validation slides.

    Matching descriptions to slides instead would not work: a network that prefers frequent descriptions, whatever
    the slide, gains there. Without validation slides the answer is True.

    Parameters
    ----------
    answers
        Slide id -> answers of the patient's reports.
    max_tiles
        Maximum number of tiles per slide, evenly spaced.
    """
    if not data.val:
        return True
    network.eval()
    with torch.no_grad():
        texts = [full_text(answers[slide.slide_id]) for slide in data.val]
        vectors = slide_vectors(network, data.val, data.reader, max_tiles)
        logits = network.logits(vectors, network.encode_texts(texts)).T
        return likelihood_gain(logits, texts) > MIN_LIKELIHOOD_GAIN


def likelihood_gain(logits: Tensor, texts: Sequence[str]) -> float:
    """Return how much more likely the right slides are than under uniform guessing, in nats summed over all texts.

    The logits are first multiplied by the best factor between 0 and 1, so the gain is never negative.

    Parameters
    ----------
    logits
        (M, M) logits of the text of each slide (rows) against all slides (columns).
    texts
        M texts; slides with equal texts are equally right.
    """
    right = torch.tensor([[a == b for b in texts] for a in texts], device=logits.device).double()
    right = right / right.sum(dim=1, keepdim=True)
    factors = torch.linspace(0, 1, 101, dtype=torch.float64, device=logits.device)[:, None, None]
    likelihoods = (right * (factors * logits.double()).log_softmax(dim=2)).sum(dim=(1, 2))  # (101,)
    return float(likelihoods.max() - likelihoods[0])
