"""Slides in memory whose tiles carry findings, and FiVE models for them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from pipelines.core.settings import TrainSettings
from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import BagFile, TileBag
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.five import FiveModel
from pipelines.model.training.fit_five import fit_five
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching
from tests.synthetic_features import CLASSES

CHANNELS = 6
QUESTIONS = {"growth": "growth of cells", "mucin": "mucin is present"}
GROWTH = ("rings of round cells", "bundles of spindle cells")
MUCIN = ("mucin is present", "mucin is absent")
TEXTS = {name: [text] for name, text in CLASSES.items()}
NAMES = tuple(TEXTS)


def make_five(text_model, *, labels=(), channels=CHANNELS, questions=QUESTIONS, directions=2):
    """Return an untrained model."""
    settings = ModelSettings(text_model=str(text_model), gate_directions=directions)
    return FiveModel(settings, ModelSpec(channels, "toy", "01", 224, 0.5, questions, labels=list(labels))).eval()


def bag(tiles, slide_id="s"):
    n_tiles = len(tiles)
    corners = np.zeros((n_tiles, 2), np.int64)
    return TileBag(slide_id, tiles, corners, 448, torch.zeros(n_tiles, 2), torch.zeros(n_tiles), 1.0)


@dataclass(frozen=True)
class Slides:
    """Slide id -> tiles (N, C); reads them as `BagReader` reads files."""

    tiles: dict

    @cached_property
    def files(self):
        return [BagFile(name, None, len(tiles)) for name, tiles in self.tiles.items()]

    def evaluation(self, file, max_tiles):
        tiles = self.tiles[file.slide_id]
        return bag(tiles[:: max(1, -(-len(tiles) // max_tiles))], file.slide_id)

    def data(self, order=None):
        return Data([self.files[index] for index in order or range(len(self.files))], [], self, strata=[])


def tumor_slides(number, *, seed=0, n_tiles=24, n_tumor=8):
    """Return slides, and the growth and mucin of each, 0 or 1.

    The first ``n_tumor`` tiles are tumor: channel 0 is 4 higher than in the other tiles. In tumor tiles, channel 1
    shows the growth; in the others, channel 2 shows the mucin.
    """
    rng = np.random.default_rng(seed)
    growth, mucin = np.arange(number) % 2, np.arange(number) // 2 % 2
    slides = {}
    for row in range(number):
        tiles = rng.normal(scale=0.5, size=(n_tiles, CHANNELS))
        tiles[:n_tumor, 0] += 4
        tiles[:n_tumor, 1] += 2 * growth[row] - 1
        tiles[n_tumor:, 2] += 2 * mucin[row] - 1
        slides[f"s{row:03d}"] = torch.from_numpy(tiles).float()
    return Slides(slides), growth, mucin


def answers_of(slides, *per_question):
    """Return slide id -> answers, from one sequence of answers per question."""
    return dict(zip(slides.tiles, zip(*per_question, strict=True), strict=True))


def true_answers(slides, growth, mucin):
    return answers_of(slides, [GROWTH[value] for value in growth], [MUCIN[value] for value in mucin])


def fit_to_answers(model, slides, answers, *, wordings=None, order=None):
    """Fit ``model`` to descriptions; return the metrics."""
    objective = DescriptionMatching(answers, list(answers.values()), TrainSettings(), wordings or {})
    return fit_five(model, objective, slides.data(order), max_tiles=10_000).metrics(1)


def fit_to_labels(model, slides, labels, *, weights=None, order=None):
    """Fit ``model`` to labels, a sequence of class names; return the metrics."""
    objective = ClassMatching(TEXTS, dict(zip(slides.tiles, labels, strict=True)), weights or {})
    return fit_five(model, objective, slides.data(order), max_tiles=10_000).metrics(1)


def logits(model, slides, classes=TEXTS):
    """Return the logits of all slides, (n, K)."""
    bags = [bag(tiles) for tiles in slides.tiles.values()]
    return model.logits(model.encode_bags(bags, model.encode_prompts()), model.encode_classes(classes))
