"""FiVE: each question attends to the tiles that answer it, and the answers are compared with texts.

A slide is pooled by a few gates (`gates.py`). Each question has a mixture of the gates, which is its
attention over the tiles, and a linear map from the pooled tiles to the texts of its answers. All of it is fitted in
closed form (`training/fit_five.py`): first to descriptions of reports, answer by answer, then to labels. The prediction
is a sum over tiles, so the contribution of each tile to a class is known exactly.

The idea is that of FiVE (CVPR 2024, arXiv 2402.19326): questions attend to tiles, and descriptions supervise
them. The published network, which is trained by gradient descent, is `fusion_model.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.core.settings.model import ENCODER_TEXTS, ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import BagModel, ModelSpec
from pipelines.model.networks.gates import Gates
from pipelines.model.networks.text_encoder import TextEncoder
from pipelines.model.networks.tower_texts import TowerLoader, TowerTexts

AXES = 16
"""Maximum number of text directions per question; a choice among A answers needs A - 1."""


class FiveModel(BagModel):
    """FiVE with gates.

    B bags, N tiles, G gates, Q questions, R text directions per question, K classes, C channels of the image encoder,
    W channels of the text model.
    """

    centre: Tensor
    """(G, C) mean of the pooled training slides."""
    size: Tensor
    """(G,) root mean square length of the centered training slides."""
    mixture: Tensor
    """(Q, G) share of each gate in a question's attention; rows sum to 1, or are 0 for a question without answers."""
    axes: Tensor
    """(Q, R, W) orthonormal text directions in which the answers to a question differ; unused rows are 0."""
    maps: Tensor
    """(Q, R, G, C) map from the standardized pooled slide to the text directions."""
    spread: Tensor
    """(Q R, Q R) second moments of the predicted answers of the training slides."""
    class_mixture: Tensor
    """(G,) share of each gate in what the labels add; only after training on labels."""
    weights: Tensor
    """(K, G, C) weights of the classes; only after training on labels."""
    biases: Tensor
    """(K,) biases of the classes; only after training on labels."""

    def __init__(self, settings: ModelSettings, spec: ModelSpec, tower: TowerLoader | None = None) -> None:
        super().__init__(settings, spec)
        self.reads_meaning = settings.text_model == ENCODER_TEXTS
        self.text: TowerTexts | TextEncoder
        if self.reads_meaning:
            self.text = TowerTexts(tower)
        else:
            self.text = TextEncoder(replace(settings, tuning="frozen"))
            self.text.requires_grad_(requires_grad=False)
        n_own = len(spec.questions) if self.reads_meaning else 0
        self.gates = Gates(min(settings.gate_directions, spec.feature_dim), spec.feature_dim, n_own)
        gates, channels, questions = self.gates.count, spec.feature_dim, len(spec.questions)
        self.register_buffer("centre", torch.zeros(gates, channels))
        self.register_buffer("size", torch.ones(gates))
        self.register_buffer("mixture", torch.zeros(questions, gates))
        self.register_buffer("axes", torch.zeros(questions, AXES, self.text.width))
        self.register_buffer("maps", torch.zeros(questions, AXES, gates, channels))
        self.register_buffer("spread", torch.zeros(questions * AXES, questions * AXES))
        if spec.labels:
            self.register_buffer("class_mixture", torch.zeros(gates))
            self.register_buffer("weights", torch.zeros(len(spec.labels), gates, channels))
            self.register_buffer("biases", torch.zeros(len(spec.labels)))

    @property
    def prompt_names(self) -> tuple[str, ...]:
        """Ids of the questions."""
        return tuple(self.spec.questions)

    @property
    def vector_width(self) -> int:
        """Text directions of all questions, pooled channels of all gates, and one channel for the bias."""
        return len(self.spread) + self.centre.numel() + 1

    @property
    def text_fingerprint(self) -> str:
        """Fingerprint of the text model's weights."""
        return self.text.fingerprint

    @property
    def scale(self) -> Tensor:
        """One."""
        return torch.ones((), device=self.device)

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts have more tokens than the text model reads."""
        return self.text.count_truncated(texts)

    def too_long(self, texts: Sequence[str]) -> set[str]:
        """Return the texts that cannot be encoded; a text model cuts long texts, but a text tower does not."""
        return self.text.too_long(texts) if isinstance(self.text, TowerTexts) else set()

    def pretrained_names(self) -> set[str]:
        """Return the names of the weights that training never changes."""
        return {f"text.{name}" for name in self.text.pretrained_names}

    def state_for_new_labels(self) -> dict[str, Tensor]:
        """Return everything but what was fitted to labels."""
        fitted = ("class_mixture", "weights", "biases")
        return {name: tensor for name, tensor in self.state_dict().items() if name not in fitted}

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Return one unit vector per text, (M, W)."""
        return functional.normalize(self.text.pooled(texts).to(self.device), dim=-1)

    def scaled(self, features: Tensor) -> Tensor:
        """Return stored features (N, C), standardized per channel; in a joint space, they are L2-normalized first."""
        return super().scaled(functional.normalize(features.float(), dim=1) if self.reads_meaning else features)

    def mean_texts(self, groups: Sequence[Sequence[str]]) -> Tensor:
        """Return the mean vector of the texts in each group, (M, W)."""
        vectors = self.encode_texts([text for group in groups for text in group])
        return torch.stack([group.mean(dim=0) for group in vectors.split([len(group) for group in groups])])

    def meaning(self, number: int, axes: Tensor) -> Tensor:
        """Return what the texts alone say: a map from the slide under the own gate of a question to ``axes``, (R, C).

        The space of tiles and texts is the same, so the product of a tile and a text direction is their similarity.

        Parameters
        ----------
        axes
            (R, W) text directions; W is C.
        """
        return axes * self.feature_std * self.size[self.gates.of_question(number)[-1]]

    def read(self, number: int, axes: Tensor, parts: Sequence[tuple[int, Tensor, float]]) -> None:
        """Set how a question reads a slide: its text directions (R, W) and its share and map for each gate.

        Parameters
        ----------
        parts
            Gate, map (R, C) from the standardized slide under this gate, and weight. The answer is their weighted sum.
            A gate may occur twice.
        """
        rows = slice(len(axes))
        total = sum(weight for _, _, weight in parts)
        self.axes[number, rows] = axes.float()
        self.mixture[number], self.maps[number] = 0, 0
        for gate, coefficients, weight in parts:
            self.mixture[number, gate] += weight / total
            self.maps[number, rows, gate] += (coefficients * weight).float()
        shares = self.mixture[number].clamp(min=1e-12)[:, None]
        self.maps[number] /= torch.where(self.mixture[number, :, None] > 0, shares, 1)

    def encode_prompts(self, kept: Sequence[int] | None = None) -> Tensor:
        """Return an empty tensor: the attention of a question is fitted to its answers, not to its text."""
        return self.maps.new_empty(0, self.text.width)

    def encode_classes(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return the text directions, weights and bias of each class, (K, vector width).

        For classes other than the labels of the run, only the texts count.
        """
        texts = self.class_texts(classes)
        if set(classes) != set(self.spec.labels):
            return functional.pad(texts, (0, self.vector_width - texts.shape[1]))
        indices = [self.spec.labels.index(name) for name in classes]
        return torch.cat([texts, self.weights[indices].flatten(1), self.biases[indices, None]], dim=1)

    def class_texts(self, classes: Mapping[str, Sequence[str]]) -> Tensor:
        """Return how the texts of the classes differ along the text directions of the questions, (K, Q R).

        They are scaled so that over the training slides of the questions the logits of two classes differ by 1 in the
        root mean square.
        """
        directions = functional.normalize(self.mean_texts(list(classes.values())), dim=-1)
        along = torch.einsum("kw,qrw->kqr", directions - directions.mean(dim=0), self.axes).flatten(1)
        between = (along[:, None] - along).flatten(0, 1)  # (K * K, Q R)
        square = torch.einsum("iv,vw,iw->", between, self.spread, between) / max(1, len(along) * (len(along) - 1))
        return along / square.sqrt() if square > 0 else torch.zeros_like(along)

    def pooled(self, bag: TileBag) -> Tensor:
        """Return the mean of the scaled tiles under the attention of each gate, (G, C)."""
        tiles, gates = self._tiles_and_gates(bag)
        pooled: Tensor = gates @ tiles
        return pooled

    def standardized(self, pooled: Tensor) -> Tensor:
        """Return pooled slides (B, G, C), centered and scaled to a mean squared length of about 1 per gate."""
        standardized: Tensor = (pooled - self.centre) / self.size[:, None]
        return standardized

    def answers(self, slides: Tensor) -> Tensor:
        """Return the predicted answers for standardized ``slides`` (B, G, C), along the text directions, (B, Q, R)."""
        predicted: Tensor = torch.einsum("bgc,qrgc,qg->bqr", slides, self.maps, self.mixture)
        return predicted

    def bag_vectors(self, slides: Tensor) -> Tensor:
        """Return the vectors of standardized ``slides`` (B, G, C), (B, vector width)."""
        seen = slides * self.class_mixture.sqrt()[:, None] if self.spec.labels else torch.zeros_like(slides)
        return torch.cat([self.answers(slides).flatten(1), seen.flatten(1), torch.ones_like(slides[:, 0, :1])], dim=1)

    def encode_bags(self, bags: Sequence[TileBag], prompts: Tensor) -> Tensor:
        """Return one vector per bag, (B, vector width); see `bag_vectors`."""
        return self.bag_vectors(self.standardized(torch.stack([self.pooled(bag) for bag in bags])))

    def attend(self, bag: TileBag, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vector of one bag, (1, vector width), and the attention of each question, (Q, N); rows sum to 1.

        The share of the uniform gate is divided among the tiles by how much each contributes to the answer.
        """
        tiles, gates = self._tiles_and_gates(bag)
        slide = self.standardized((gates @ tiles)[None])
        predicted = self.answers(slide)[0]  # (Q, R)
        towards = torch.einsum("qr,qrc->qc", predicted, self.maps[:, :, 0])
        contributions = (((tiles - self.centre[0]) @ towards.T).abs() + 1e-12).T  # (Q, N)
        even = contributions / contributions.sum(dim=1, keepdim=True)
        attention = self.mixture[:, 1:] @ gates[1:] + self.mixture[:, :1] * even
        unfitted = self.mixture.sum(dim=1, keepdim=True) == 0
        return self.bag_vectors(slide), torch.where(unfitted, gates[:1].expand_as(attention), attention)

    def contributions(self, bag: TileBag, classes: Tensor) -> Tensor:
        """Return what each tile adds to the logit of each class, (K, N); a row and the bias sum to the logit.

        Parameters
        ----------
        classes
            (K, vector width) vectors of `encode_classes`.
        """
        tiles, gates = self._tiles_and_gates(bag)
        n_texts, n_seen = len(self.spread), self.centre.numel()
        texts = classes[:, :n_texts].unflatten(1, self.axes.shape[:2])  # (K, Q, R)
        weights = torch.einsum("kqr,qrgc,qg->kgc", texts, self.maps, self.mixture)
        if self.spec.labels:
            seen = classes[:, n_texts : n_texts + n_seen].unflatten(1, self.centre.shape)
            weights = weights + seen * self.class_mixture.sqrt()[:, None]
        weights = weights / self.size[:, None]
        offset = (weights * self.centre).sum(dim=2)  # (K, G)
        per_gate = torch.einsum("nc,kgc->kgn", tiles, weights) - offset[:, :, None]
        added: Tensor = torch.einsum("gn,kgn->kn", gates, per_gate)
        return added

    def _tiles_and_gates(self, bag: TileBag) -> tuple[Tensor, Tensor]:
        """Return the scaled tiles, (N, C), and the attention of each gate over them, (G, N)."""
        tiles = self.scaled(bag.features.to(self.device))
        return tiles, self.gates(tiles)
