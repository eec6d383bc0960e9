"""Estimate the tokens, time and cost of describing reports, from measurements of an earlier run if there are any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.report_records import Record
from pipelines.reports.report_table import Report

TYPICAL_CHARACTERS_PER_TOKEN = 4
"""Rough value for English text and common tokenizers, used until something is measured."""
MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """Prices of a service per million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0


def estimate(
    reports: Sequence[Report],
    settings: DescribeReportsSettings,
    prompt_characters: int,
    journal: Iterable[Record],
    prices: Prices,
) -> dict[str, Any]:
    """Return the estimated tokens, cost and seconds for the reports still to be described.

    The seconds are measured from the journal of an earlier run with the same backend and model,
    and None without one. The tokens are measured too, else estimated by `TYPICAL_CHARACTERS_PER_TOKEN`.
    Keys that end in ``_from`` name the source of an estimate.

    Parameters
    ----------
    prompt_characters
        Number of characters of the messages without the report.
    """
    characters = sum(len(report.text) + prompt_characters for report in reports) * settings.votes
    measured = [record for record in journal if _comparable(record, settings)]
    if settings.backend == "rules":
        return _time(reports, measured)
    counted = [record for record in measured if record.get("prompt_tokens")]
    max_output = len(reports) * settings.votes * settings.max_tokens
    prompt_tokens, output_tokens = characters / TYPICAL_CHARACTERS_PER_TOKEN, None
    source = f"{TYPICAL_CHARACTERS_PER_TOKEN:.0f} characters per token"
    if counted:
        sent = sum(record["characters"] + prompt_characters for record in counted) * settings.votes
        prompt_tokens = characters * sum(record["prompt_tokens"] for record in counted) / sent
        output_tokens = sum(record["output_tokens"] for record in counted) / len(counted) * len(reports)
        source = f"measured over {len(counted)} reports, repeated requests included"
    tokens: dict[str, Any] = {
        "prompt_tokens": round(prompt_tokens),
        "prompt_tokens_from": source,
        "output_tokens": None if output_tokens is None else round(output_tokens),
        "most_output_tokens": max_output,
    }
    if prices != Prices():
        output = max_output if output_tokens is None else output_tokens
        tokens["cost"] = round((tokens["prompt_tokens"] * prices.input + output * prices.output) / MILLION, 4)
        tokens["cost_from"] = "the maximum of output tokens" if output_tokens is None else "tokens measured so far"
    return {**tokens, **_time(reports, measured)}


def _comparable(record: Record, settings: DescribeReportsSettings) -> bool:
    """Return whether a report was described with the same backend, model and number of samples."""
    used = (record["backend"], record["asked_model"], record["votes"])
    return record["status"] == "ok" and used == (settings.backend, settings.model, settings.votes)


def _time(reports: Sequence[Report], measured: Sequence[Record]) -> dict[str, Any]:
    characters = sum(record["characters"] for record in measured)
    if not characters:
        return {"seconds": None, "seconds_from": "nothing measured yet: describe a few with --limit, then ask again"}
    rate = sum(record["wall_seconds"] for record in measured) / characters
    remaining = sum(len(report.text) for report in reports)
    return {
        "seconds": round(rate * remaining, 1),
        "seconds_from": f"{MILLION * rate:.3g} s per million characters, measured over {len(measured)} reports",
    }
