"""Settings of ``five describe-reports``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require

BACKENDS = ("rules", "local", "openai", "vllm")
UNGROUNDED = ("keep", "unknown", "fail")


@dataclass(frozen=True)
class DescribeReportsSettings(Settings):
    """What is asked of every report, and by what it is answered."""

    questions: str = "lung"
    """Question set: a shipped name, or a YAML file."""
    backend: str = "rules"
    """What answers: ``rules``, ``local``, ``openai`` or ``vllm``."""
    model: str = ""
    """Name or folder of the language model; empty for the backend's own default."""
    ungrounded: str = "unknown"
    """Answers whose quote is not in the report after a second attempt: ``keep``, ``unknown`` or ``fail``."""
    max_tokens: int = 1024
    """Most tokens of a reply."""
    temperature: float = 0.0
    """Randomness of a language model; 0 always takes the likeliest token."""
    seed: int = 0
    """Seed of a language model that samples."""
    votes: int = 1
    """Samples of a language model for each report; the answer that most of them give counts."""

    def __post_init__(self) -> None:
        require(self.backend in BACKENDS, f"backend: {self.backend!r} is not known", hint=f"use {', '.join(BACKENDS)}")
        require(
            self.ungrounded in UNGROUNDED,
            f"ungrounded: {self.ungrounded!r} is not known",
            hint=f"use {', '.join(UNGROUNDED)}",
        )
        require(self.max_tokens > 0, f"max_tokens: {self.max_tokens} is not positive")
        require(self.temperature >= 0, f"temperature: {self.temperature} is negative")
        require(self.votes >= 1, f"votes: {self.votes} is not positive")
        require(
            not self.model or self.backend != "rules",
            f"model: backend rules uses no model, but {self.model!r} is named",
            hint="add --backend local, openai or vllm",
        )
        if self.votes > 1:
            require(
                self.backend != "rules" and (self.backend != "local" or bool(self.model)),
                f"votes: {self.votes} samples of backend {self.backend} without a language model are all the same",
                hint="leave --votes out, or name a language model",
            )
            require(
                self.temperature > 0,
                f"votes: {self.votes} samples at temperature 0 are all the same",
                hint="add for example --temperature 0.7",
            )
