"""One vector per class or answer, from its texts, in the joint space of an image encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import SettingsError

SAME = 1 - 1e-6
"""Cosine similarity from which two vectors count as equal."""
MAX_NAMED = 3
"""Maximum number of texts that an error names."""


class TextTower(Protocol):
    """The text side of an encoder whose image features are in a space shared with texts."""

    space: str
    """Name of the space."""
    logit_scale: float
    """Factor of the cosine similarities that the encoder was trained with."""
    context_length: int
    """Maximum number of tokens of a text."""
    dim: int
    """D, channels of a vector."""

    def n_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """Return the number of tokens of each text."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector per text, (M, D), L2-normalized."""


@dataclass(frozen=True)
class Alternatives:
    """Texts that exclude each other: the classes, or the answers to a question. K of them, D channels."""

    name: str
    """Id of the question; empty for the classes."""
    names: tuple[str, ...]
    """(K,) names of the classes or answers."""
    vectors: NDArray[np.float32]
    """(K, D) one vector of length 1 for each."""


def alternatives(name: str, texts: Mapping[str, Sequence[str]], tower: TextTower, source: object) -> Alternatives:
    """Encode the texts of each class or answer, and average them.

    The vector of a class is the mean of the vectors of its texts, normalized, as in the prompt ensembles of CLIP
    (arXiv 2103.00020, section 3.1.4).

    Parameters
    ----------
    name
        Id of the question; empty for the classes.
    source
        The file of the texts, for messages.

    Raises
    ------
    SettingsError
        A text is longer than the context of the tower, or two vectors are equal.
    """
    refuse_long_texts(texts, tower, source)
    vectors = np.stack([mean_vector(tower(its)) for its in texts.values()])
    names = tuple(texts)
    for first, second in combinations(range(len(names)), 2):
        if float(vectors[first] @ vectors[second]) >= SAME:
            raise SettingsError(
                f"{source}: the texts of '{names[first]}' and '{names[second]}' have the same vector in {tower.space}",
                hint="use words that the text tower of the encoder distinguishes",
            )
    return Alternatives(name, names, vectors)


def mean_vector(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean of ``vectors`` (M, D) with length 1; 0 if they cancel out."""
    mean = vectors.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    normalized: NDArray[np.float32] = (mean / length if length > 0 else mean).astype(np.float32)
    return normalized


def in_space(tower: TextTower, space: str, dim: int, source: object) -> TextTower:
    """Return ``tower`` after checking that its vectors are in the space of features.

    Parameters
    ----------
    space, dim
        Name of the space of the features, and their number of channels.
    source
        The folder of the features, for messages.

    Raises
    ------
    SettingsError
        The tower is of another space, or its vectors have another number of channels.
    """
    if tower.space != space:
        raise SettingsError(
            f"{source}: features of the space '{space}', but the text tower is of '{tower.space}'",
            hint="use the encoder and weights (--text-weights) that made the features, or embed the slides again",
        )
    if tower.dim != dim:
        raise SettingsError(
            f"{source}: features of {dim} channels, but texts have {tower.dim}", hint="embed the slides again"
        )
    return tower


def refuse_long_texts(texts: Mapping[str, Sequence[str]], tower: TextTower, source: object) -> None:
    """Raise a `SettingsError` that counts the texts with more tokens than the tower reads."""
    too_long = [
        (name, count)
        for name, its in texts.items()
        for count in tower.n_tokens(list(its))
        if count > tower.context_length
    ]
    if not too_long:
        return
    named = ", ".join(f"'{name}' with {count}" for name, count in too_long[:MAX_NAMED])
    more = f" and {len(too_long) - MAX_NAMED} more" if len(too_long) > MAX_NAMED else ""
    raise SettingsError(
        f"{source}: {len(too_long)} of {sum(map(len, texts.values()))} texts have more than the "
        f"{tower.context_length} tokens that the text tower reads: {named}{more}",
        hint="shorten them; a text is never cut",
    )
