"""How the closed form of FiVE is fitted: to descriptions by ridge regression, to labels around the class texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.data.batches import Data
from pipelines.model.data.descriptions import Answers
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.training.objectives import ClassMatching, DescriptionMatching, Objective
from pipelines.model.training.progress import Progress

TEXT_PENALTY = 30.0
"""Of the regression to texts, where slide vectors have a mean square of 1. So strong that every
direction of the tiles counts by its covariance with the texts alone."""
CLASS_PENALTY = 0.4
"""Of the weights of the classes beside their texts."""
BIAS_PENALTY = 8.0
"""Of their biases: a pair of slides says little about where the border between two classes lies."""


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
        total = (
            fitted + CLASS_PENALTY / 2 * (shares * (kernel @ shares)).sum() + BIAS_PENALTY / 2 * biases.square().sum()
        )
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
