"""Ways to answer the questions: rules without a model, a local model, a server, an in-process engine."""

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
        Its package is missing, its model is not named or cannot be loaded, or a server is named for
        a backend that asks none.
    """
    if resources.base_url and settings.backend != "openai":
        raise BackendError(
            f"backend {settings.backend}: asks no server, but one is named",
            hint="add --backend openai, or leave --base-url out",
        )
    if settings.backend == "openai":
        from pipelines.reports.backends.openai import OpenAIBackend

        return OpenAIBackend(questions, settings, base_url=resources.base_url, workers=resources.workers)
    if settings.backend == "vllm":
        from pipelines.reports.backends.vllm import VLLMBackend

        return VLLMBackend(questions, settings, resources)
    if settings.backend == "local" and not settings.model:
        from pipelines.reports.backends.nearest import NearestBackend

        return NearestBackend(questions, device=resources.device)
    if settings.backend == "local":
        from pipelines.reports.backends.local import LocalBackend

        return LocalBackend(questions, settings, device=resources.device)
    from pipelines.reports.backends.rules import RulesBackend

    return RulesBackend(questions)
