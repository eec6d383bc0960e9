"""Backends that answer the questions: rules, a local model, a server, or vLLM in this process."""

from __future__ import annotations

from pipelines.core.errors import BackendError
from pipelines.core.questions import QuestionSet
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import Backend, Reply, Request, Sampling

__all__ = ["Backend", "Reply", "Request", "Sampling", "open_backend"]


def open_backend(
    questions: QuestionSet,
    settings: DescribeReportsSettings,
    resources: DescribeReportsResources = DescribeReportsResources(),
) -> Backend:
    """Return the backend that the settings name, loaded and ready.

    Raises
    ------
    BackendError
        Its package is missing, no model is named or it cannot be loaded, or a server is named for
        a backend that uses none.
    """
    if resources.base_url and settings.backend != "openai":
        raise BackendError(
            f"backend {settings.backend}: uses no server, but one is named",
            hint="add --backend openai, or leave --base-url out",
        )
    if settings.backend == "openai":
        from pipelines.reports.backends.openai import OpenAIBackend

        return OpenAIBackend(questions, settings, resources)
    if settings.backend == "vllm":
        from pipelines.reports.backends.vllm import VLLMBackend

        return VLLMBackend(questions, settings, resources)
    if settings.backend == "local" and not settings.model:
        from pipelines.reports.backends.nearest_wording import NearestWordingBackend

        return NearestWordingBackend(questions, device=resources.device)
    if settings.backend == "local":
        from pipelines.reports.backends.local import LocalBackend

        return LocalBackend(questions, settings, device=resources.device)
    from pipelines.reports.backends.rules import RulesBackend

    return RulesBackend(questions)
