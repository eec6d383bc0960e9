"""The kinds of descriptions and cohorts that are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.questions import QuestionSet
from tests.benchmarks.composed.wordings import nonsense, question_set

HELD_OUT = (0, 1)
"""Combination of answers that training does not see in the kind ``new combination``."""
UNKNOWN = 0.3
"""Share of the answers that a description does not give."""
KINDS = ("true", "shuffled", "class only", "nonsense", "new combination", "disturbed", "disturbed shuffled")


@dataclass(frozen=True)
class Kind:
    """One way to describe the training bags."""

    name: str

    @property
    def without(self) -> tuple[int, ...]:
        """The combination of answers that no training bag has."""
        return HELD_OUT if self.name == "new combination" else ()

    @property
    def is_disturbed(self) -> bool:
        """Whether the bags have two stains, fat and pen marks."""
        return self.name.startswith("disturbed")

    def questions(self, rng: np.random.Generator) -> QuestionSet:
        """Return the questions, with invented words for the answers in the kind ``nonsense``."""
        return question_set(nonsense(rng)) if self.name == "nonsense" else question_set()

    def known(self, answers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which answers the descriptions give, (n, Q)."""
        known = rng.random(answers.shape) > UNKNOWN
        if self.name == "class only":
            known[:, 1:] = False
        return known

    def described(self, answers: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the answers in the descriptions, (n, Q)."""
        return rng.permutation(answers) if self.name.endswith("shuffled") else answers
