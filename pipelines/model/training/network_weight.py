"""Whether a pre-trained network knows more than the patients that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import Answers, full_text
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.slide_vectors import slide_vectors

GAIN = 2.7
"""Least gain of the log-likelihood over saying nothing: half of 5.41, which a likelihood ratio with one factor that
is not negative exceeds in 1 of 100 networks without knowledge."""


def is_worth_hearing(network: FiveModel, answers: Mapping[str, Answers], data: Data, *, most_tiles: int) -> bool:
    """Return whether ``network`` finds the slide of a description among those of validation.

    The other direction would not do: a network that prefers frequent descriptions, whatever the slide, gains there.
    Without validation slides it is taken on trust.

    Parameters
    ----------
    answers
        Slide id -> answers of the patient's reports.
    most_tiles
        Of a slide, spread evenly.
    """
    if not data.val:
        return True
    network.eval()
    with torch.no_grad():
        texts = [full_text(answers[slide.slide_id]) for slide in data.val]
        vectors = slide_vectors(network, data.val, data.reader, most_tiles)
        return likelihood_gain(network.logits(vectors, network.encode_texts(texts)).T, texts) > GAIN


def likelihood_gain(logits: Tensor, texts: Sequence[str]) -> float:
    """Return by how much text-to-slide matching is likelier than even odds, in nats over all texts.

    The logits are multiplied by the factor between 0 and 1 that suits them best, so that it is never negative.

    Parameters
    ----------
    logits
        (M, M) of the text of each slide (rows) against all slides.
    texts
        M texts; slides of equal texts are equally right.
    """
    right = torch.tensor([[a == b for b in texts] for a in texts], device=logits.device).double()
    right = right / right.sum(dim=1, keepdim=True)
    factors = torch.linspace(0, 1, 101, dtype=torch.float64, device=logits.device)[:, None, None]
    likelihoods = (right * (factors * logits.double()).log_softmax(dim=2)).sum(dim=(1, 2))  # (101,)
    return float(likelihoods.max() - likelihoods[0])
