"""FiVE in closed form, for cohorts too small to train a network: tens of slides, or a few labels a class.

The supervision is FiVE's, descriptions before labels; what learns is linear. A slide is the
log-mean-exp of its tiles, channel by channel, between their mean and their maximum, so that a few
tiles of tumor are not lost among hundreds of others. Pre-training is a ridge regression from that
vector to the text embeddings of the answers of the patient's report; it predicts classes from any
texts. Fine-tuning is a logistic regression whose starting point is the class texts: the penalty
draws it back to what language says, the more so the fewer labels there are.

The constants were chosen on a cohort of other patients than those reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.settings.train import ModelSettings
from pipelines.model.bag_model import BagModel, ModelSpec
from pipelines.model.bags import BagFile, BagReader, TileBag
from pipelines.model.batches import Data
from pipelines.model.descriptions import Answers
from pipelines.model.objectives import ClassMatching, DescriptionMatching, Objective
from pipelines.model.progress import Progress
from pipelines.model.text import TextEncoder

SHARPNESS = 2.0
"""Of the log-mean-exp over scaled tiles: 0 would be their mean, infinity their maximum."""
TEXT_PENALTY = 30.0
"""Of the regression to texts, where slide vectors have a mean square of 1. So strong that every
direction of the tiles counts by its covariance with the texts alone."""
CLASS_PENALTY = 0.4
"""Of the weights of the classes beside their texts."""


class LinearFive(BagModel):
    """A linear map from slides to texts, and weights of classes beside their texts.

    B bags, N tiles, P questions, K classes, C channels of the image encoder, W of the text model.
    """

    centre: Tensor
    size: Tensor
    to_text: Tensor
    spread: Tensor
    weights: Tensor
    biases: Tensor

    def __init__(self, settings: ModelSettings, spec: ModelSpec) -> None:
        super().__init__(settings, spec)
        self.text = TextEncoder(replace(settings, tuning="frozen"))
        self.text.requires_grad_(requires_grad=False)
        channels, words = spec.feature_dim, self.text.width
        self.register_buffer("centre", torch.zeros(channels))
        self.register_buffer("size", torch.ones(()))
        self.register_buffer("to_text", torch.zeros(words, channels))
        self.register_buffer("spread", torch.zeros(words, words))
        if spec.classes:
            self.register_buffer("weights", torch.zeros(len(spec.classes), channels))
            self.register_buffer("biases", torch.zeros(len(spec.classes)))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Question ids."""
        return tuple(self.spec.questions)

    @property
    def vector_width(self) -> int:
        """Channels of text and image, and one for the bias."""
        return self.text.width + self.spec.feature_dim + 1

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the weights of the text model."""
        return self.text.fingerprint

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.text.count_truncated(texts)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one vector a text, (M, W) of length 1."""
        return functional.normalize(self.text.pooled(texts), dim=-1)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return the prompts of the kept (default all) questions, (P, W) of length 1."""
        prompts = list(self.spec.questions.values())
        chosen = [prompts[index] for index in (range(len(prompts)) if kept is None else kept)]
        return self.encode_texts(chosen) if chosen else self.to_text.new_empty(0, self.text.width)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return text, weights and bias of each class, (K, W + C + 1).

        Texts are scaled so that the logits of two classes differ by 1 in the root mean square over
        the slides of the pre-training.
        """
        means = torch.stack([self.encode_texts(texts).mean(dim=0) for texts in classes.values()])
        texts = functional.normalize(means, dim=-1)
        texts = texts - texts.mean(dim=0)
        between = (texts[:, None] - texts).flatten(0, 1)  # (K * K, W)
        square = torch.einsum("iw,wv,iv->", between, self.spread, between) / max(1, len(texts) * (len(texts) - 1))
        texts = texts / square.sqrt() if square > 0 else torch.zeros_like(texts)
        if not self.spec.classes:
            return functional.pad(texts, (0, self.spec.feature_dim + 1))
        places = self.class_places(classes)
        return torch.cat([texts, self.weights[places], self.biases[places, None]], dim=1)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return what a bag says in text, its vector, and a 1, (B, W + C + 1)."""
        return self.described(self.vectors(torch.stack([self.pooled(bag) for bag in bags])))

    def pooled(self, bag: TileBag) -> Tensor:
        """Return the log-mean-exp of the scaled tiles, (C,)."""
        return log_mean_exp(self.scaled(bag.features.to(self.device)))

    def vectors(self, pooled: Tensor) -> Tensor:
        """Return pooled slides (B, C), centred and with a mean square of about 1."""
        return (pooled - self.centre) / self.size

    def described(self, vectors: Tensor) -> Tensor:
        """Return what slides (B, C) say in text, themselves, and a 1, (B, W + C + 1)."""
        return torch.cat([vectors @ self.to_text.T, vectors, torch.ones_like(vectors[:, :1])], dim=1)

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, and the tiles behind the channels that speak of each question, (P, N)."""
        shares = (SHARPNESS * self.scaled(bag.features.to(self.device))).softmax(dim=0)  # (N, C), of each channel
        relevance = functional.normalize((prompts @ self.to_text).abs() + 1e-12, p=1, dim=1)  # (P, C)
        return self.encode_bags([bag], prompts), relevance @ shares.T


def log_mean_exp(tiles: Tensor) -> Tensor:
    """Return the smooth maximum of the tiles (N, C), (C,): log of the mean of exp(2 x), over 2."""
    return (torch.logsumexp(SHARPNESS * tiles, dim=0) - math.log(len(tiles))) / SHARPNESS


def fit_linear_five(
    model: LinearFive,
    objective: Objective,
    data: Data,
    *,
    most_tiles: int,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit ``model`` in place, in one step: to descriptions, or to labels if it has classes.

    Parameters
    ----------
    most_tiles
        Of a slide, spread evenly.
    """
    model.eval()
    progress = Progress(epoch=1, best_epoch=1)
    with torch.no_grad():
        train, val = (_pooled(model, part, data.reader, most_tiles) for part in (data.train, data.val))
        if not model.to_text.any():  # fine-tuning keeps the scale of the pre-training
            model.centre.copy_(train.mean(dim=0))
            model.size.copy_((train - model.centre).square().sum(dim=1).mean().sqrt().clamp(min=1e-6))
        slides = {"train": (data.train, model.vectors(train)), "val": (data.val, model.vectors(val))}
        if isinstance(objective, DescriptionMatching):
            figures = _fit_texts(model, objective, slides)
        elif isinstance(objective, ClassMatching):
            figures = _fit_classes(model, objective, slides)
    progress.record(figures)
    progress.best = figures.get("val", figures["train"])["loss"]
    on_epoch(progress)
    return progress


_Slides = Mapping[str, tuple[Sequence[BagFile], Tensor]]
"""Part -> its slides and their vectors, (n, C)."""


def _pooled(model: LinearFive, slides: Sequence[BagFile], reader: BagReader, most_tiles: int) -> Tensor:
    bags = (reader.evaluation(slide, most_tiles) for slide in slides)
    pooled = [model.pooled(bag) for bag in bags]
    return torch.stack(pooled) if pooled else model.centre.new_empty(0, len(model.centre))


def _fit_texts(model: LinearFive, objective: DescriptionMatching, slides: _Slides) -> dict[str, dict[str, float]]:
    """Fit the map to texts; ``loss`` is the squared error in units of that of the mean answer."""
    answers = {part: [objective.answers[slide.slide_id] for slide in members] for part, (members, _) in slides.items()}
    targets = _targets(model, answers)
    vectors = slides["train"][1].double()
    kernel = vectors @ vectors.T + TEXT_PENALTY * torch.eye(len(vectors), device=vectors.device)
    model.to_text.copy_(torch.linalg.solve(kernel, targets["train"].double()).T @ vectors)
    said = slides["train"][1] @ model.to_text.T
    model.spread.copy_(said.T @ said / len(said))
    return {
        part: {"loss": float((vectors @ model.to_text.T - targets[part]).square().sum() / targets[part].square().sum())}
        for part, (members, vectors) in slides.items()
        if members and targets[part].any()
    }


def _targets(model: LinearFive, answers: Mapping[str, Sequence[Answers]]) -> dict[str, Tensor]:
    """Return for each slide of each part the sum of its answers' embeddings, (n, W).

    From each is taken what the training answers to its question have in common: left is how the
    patient differs. Unknown answers add nothing.
    """
    found = {part: model.spread.new_zeros(len(rows), model.text.width) for part, rows in answers.items()}
    for question in range(len(model.spec.questions)):
        known = {part: [row for row, each in enumerate(rows) if each[question]] for part, rows in answers.items()}
        if not known["train"]:
            continue
        texts = {part: [str(answers[part][row][question]) for row in rows] for part, rows in known.items() if rows}
        vectors = {part: model.encode_texts(each) for part, each in texts.items()}
        for part, each in vectors.items():
            found[part][known[part]] += each - vectors["train"].mean(dim=0)
    return found


def _fit_classes(model: LinearFive, objective: ClassMatching, slides: _Slides) -> dict[str, dict[str, float]]:
    """Fit weights and biases beside the texts of the classes: the unique minimum of a convex loss."""
    members, vectors = slides["train"]
    names = model.spec.classes
    rows = model.encode_classes({name: objective.classes[name] for name in names})
    offset = (vectors @ model.to_text.T @ rows[:, : model.text.width].T).double()
    targets = torch.tensor([names.index(objective.labels[slide.slide_id]) for slide in members], device=vectors.device)
    counts = torch.tensor([objective.weights.get(name, 1.0) for name in names], device=vectors.device)[targets]
    kernel = vectors.double() @ vectors.double().T
    shares = kernel.new_zeros(len(members), len(names), requires_grad=True)
    biases = kernel.new_zeros(len(names), requires_grad=True)
    solver = torch.optim.LBFGS([shares, biases], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = offset + kernel @ shares + biases
        fitted = (functional.cross_entropy(logits, targets, reduction="none") * counts).sum()
        total = fitted + CLASS_PENALTY / 2 * (shares * (kernel @ shares)).sum()
        total.backward()
        return total

    with torch.enable_grad():
        solver.step(loss)
    model.weights.copy_(shares.detach().T @ vectors.double())
    model.biases.copy_(biases.detach())
    return {
        part: objective.validate(model, [slide.slide_id for slide in members], model.described(vectors))
        for part, (members, vectors) in slides.items()
        if members
    }
