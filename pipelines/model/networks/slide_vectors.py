"""The vectors of whole slides, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.networks.bag_model import BagModel


def slide_vectors(model: BagModel, slides: Sequence[BagFile], reader: BagReader, most_tiles: int) -> Tensor:
    """Return the vectors of slides, (number of slides, D), of at most ``most_tiles`` tiles each, spread evenly."""
    prompts = model.encode_prompts()
    vectors = [model.encode_bags([reader.evaluation(slide, most_tiles)], prompts) for slide in slides]
    return torch.cat(vectors) if vectors else torch.empty(0, model.vector_width, device=model.device)
