"""Settings of ``five describe-reports``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.fields import Limits

Backend = Literal["rules", "local", "openai", "vllm"]
Ungrounded = Literal["keep", "unknown", "fail"]


@dataclass(frozen=True)
class DescribeReportsSettings(Settings):
    """The questions asked about every report, and the backend that answers them."""

    questions: str = "lung"
    """Question set: a name from `five questions list`, or a YAML file."""
    backend: Backend = "rules"
    """Backend that answers: ``rules`` (no language model), ``local``, ``openai`` or ``vllm``. Only ``openai`` sends
    reports to a server."""
    model: str = ""
    """Language model: a name, or a folder for ``local`` and ``vllm``. If not set, the backend's own default."""
    ungrounded: Ungrounded = "unknown"
    """What to do with an answer whose quote is not in the report, or contradicts it, after a second attempt: ``keep``
    it, set it to ``unknown``, or ``fail`` the report."""
    max_tokens: Annotated[int, Limits(min=1)] = 1024
    """Maximum number of tokens per reply."""
    temperature: Annotated[float, Limits(min=0)] = 0.0
    """Sampling temperature of the language model; 0 always takes the most likely token."""
    seed: int = 0
    """Random seed of the language model's sampling."""
    votes: Annotated[int, Limits(min=1)] = 1
    """Number of samples per report; the majority answer is kept. More than one needs a ``temperature`` above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.model or self.backend != "rules",
            f"model: backend rules uses no model, but {self.model!r} is given",
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
