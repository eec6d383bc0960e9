"""Notice text that speaks to a language model instead of about a patient."""

from __future__ import annotations

import re

_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:above|previous|prior|earlier|instructions?|rules|prompts?"
    r"|questions?|everything)\b"
    r"|\b(?:answer|reply|respond|output|return)\b.{0,30}\b(?:present|absent|unknown|json|yes|no|(?:all|every|each)"
    r" questions?)\b"
    r"|\b(?:system prompt|language model|as an ai|(?:you are|act as) (?:an?|now|the) (?:ai|assistant|model|helpful))\b",
    re.IGNORECASE | re.DOTALL,
)


def addresses_a_model(text: str) -> bool:
    """Tell whether ``text`` holds words such as "ignore the above" or "answer present".

    A sentence that merely claims a finding cannot be told from one.
    """
    return _ORDER.search(text) is not None
