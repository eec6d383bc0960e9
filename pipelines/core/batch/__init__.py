"""Run one function over many items: isolate failures, use several processes, devices or machines."""

from pipelines.core.batch.in_processes import Ahead
from pipelines.core.batch.isolation import Isolation, Work, kept, remove_traceback
from pipelines.core.batch.results import OnResult, Outcome, Result, Summary
from pipelines.core.batch.run import run_batch, run_with

__all__ = [
    "Ahead",
    "Isolation",
    "OnResult",
    "Outcome",
    "Result",
    "Summary",
    "Work",
    "kept",
    "remove_traceback",
    "run_batch",
    "run_with",
]
