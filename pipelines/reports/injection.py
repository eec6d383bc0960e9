"""Detect text that gives instructions to a language model (prompt injection)."""

from __future__ import annotations

import re

_INSTRUCTION = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:above|previous|prior|earlier|instructions?|rules|prompts?"
    r"|questions?|everything)\b"
    r"|\b(?:answer|reply|respond|output|return)\b.{0,30}\b(?:present|absent|unknown|json|yes|no|(?:all|every|each)"
    r" questions?)\b"
    r"|\b(?:system prompt|language model|as an ai|(?:you are|act as) (?:an?|now|the) (?:ai|assistant|model|helpful))\b",
    re.IGNORECASE | re.DOTALL,
)


def addresses_a_model(text: str) -> bool:
    """Return whether ``text`` contains instructions such as "ignore the above" or "answer present".

    A false finding that is written like a true one cannot be detected.
    """
    return _INSTRUCTION.search(text) is not None
