"""What describing reports will take: tokens, time and money, from what was measured before where there is any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.records import Record
from pipelines.reports.report_table import Report

CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly, for most tokenizers; used until something is measured."""
MILLION = 1_000_000


@dataclass(frozen=True)
class Prices:
    """What a service charges for a million tokens, in any currency."""

    input: float = 0.0
    output: float = 0.0


def estimate(
    reports: Sequence[Report],
    settings: DescribeReportsSettings,
    prompt_characters: int,
    journal: Iterable[Record],
    prices: Prices,
) -> dict[str, Any]:
    """Return figures about the reports still to be asked about.

    Time comes from the journal of an earlier run with the same backend and model and is None
    without one: no rate is made up. Tokens come from it too, else from
    `CHARACTERS_PER_TOKEN`; each figure says where it is from.

    Parameters
    ----------
    prompt_characters
        Length of the conversation without a report.
    """
    asked = sum(len(report.text) + prompt_characters for report in reports) * settings.votes
    measured = [record for record in journal if _comparable(record, settings)]
    counted = [record for record in measured if record.get("prompt_tokens")]
    most = len(reports) * settings.votes * settings.max_tokens
    tokens, written, source = asked / CHARACTERS_PER_TOKEN, None, f"{CHARACTERS_PER_TOKEN:.0f} characters a token"
    if counted:
        sent = sum(record["characters"] + prompt_characters for record in counted) * settings.votes
        tokens = asked * sum(record["prompt_tokens"] for record in counted) / sent
        written = sum(record["output_tokens"] for record in counted) / len(counted) * len(reports)
        source = f"measured over {len(counted)} reports, repeated requests included"
    figures: dict[str, Any] = {}
    if settings.backend != "rules":
        figures = {
            "prompt_tokens": round(tokens),
            "prompt_tokens_from": source,
            "output_tokens": None if written is None else round(written),
            "most_output_tokens": most,
        }
        if prices != Prices():
            spent = figures["prompt_tokens"] * prices.input + (most if written is None else written) * prices.output
            figures["cost"] = round(spent / MILLION, 4)
            figures["cost_from"] = "the most output tokens" if written is None else "tokens measured so far"
    return {**figures, **_time(reports, measured)}


def _comparable(record: Record, settings: DescribeReportsSettings) -> bool:
    """Tell whether a report was described the way the others will be."""
    asked = (record["backend"], record["asked_model"], record["votes"])
    return record["status"] == "ok" and asked == (settings.backend, settings.model, settings.votes)


def _time(reports: Sequence[Report], measured: Sequence[Record]) -> dict[str, Any]:
    read = sum(record["characters"] for record in measured)
    if not read:
        return {"seconds": None, "seconds_from": "nothing measured yet: describe a few with --limit, then ask again"}
    rate = sum(record["wall_seconds"] for record in measured) / read
    left = sum(len(report.text) for report in reports)
    return {
        "seconds": round(rate * left, 1),
        "seconds_from": f"{MILLION * rate:.3g} s a million characters, measured over {len(measured)} reports",
    }
