"""Encode slides one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.networks.bag_model import BagModel


def slide_vectors(model: BagModel, slides: Sequence[BagFile], reader: BagReader, max_tiles: int) -> Tensor:
    """Return one vector per slide, (number of slides, D).

    A slide with more than ``max_tiles`` tiles is represented by that many, evenly spaced in its feature file.
    """
    prompts = model.encode_prompts()
    vectors = [model.encode_bags([reader.evaluation(slide, max_tiles)], prompts) for slide in slides]
    return torch.cat(vectors) if vectors else torch.empty(0, model.vector_width, device=model.device)
