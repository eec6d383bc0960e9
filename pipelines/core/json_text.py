"""Parse JSON from files, servers and language models."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """Return the data in ``text``.

    Raises
    ------
    ValueError
        The text is not JSON, is not UTF-8, or is nested too deeply (`json.loads` raises RecursionError for that).
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_unicode(text: str) -> bool:
    r"""Return whether ``text`` can be written as UTF-8; half a surrogate pair, such as JSON's ``"\ud800"``, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
