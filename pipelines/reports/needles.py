"""Find the letters that every match of a regular expression contains, so that most texts need no search."""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

_PARSER: Any = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
"""The parser of regular expressions of the standard library, which has no public name."""
Needles = tuple[frozenset[str], ...]
"""Sets of lower-case texts; every match contains at least one text of each set."""
MAX_SETS = 3
_MAX_CHARACTERS = 10
"""Maximum number of characters of a class such as ``[12]`` for which it is used."""
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def needles_of(expression: str) -> Needles:
    """Return sets of lower-case texts; every match of ``expression`` contains at least one text of each set.

    Compare them with text in lower case; the expression is taken to ignore case. There are at most
    `MAX_SETS` sets, those with the longest texts first, and none if nothing is known.

    >>> [sorted(texts) for texts in needles_of("(well|poorly) differentiated?")]
    [[' differentiate'], ['poorly', 'well']]
    """
    try:
        found = set(_of_sequence(_PARSER.parse(expression, re.IGNORECASE)))
    except (re.error, OverflowError, RecursionError):
        return ()
    return tuple(sorted(found, key=lambda texts: (-min(map(len, texts)), len(texts), sorted(texts)))[:MAX_SETS])


def _of_sequence(items: Any) -> list[frozenset[str]]:
    """Return the sets of the items of a parsed expression, which are pairs of an operator and its argument."""
    found: list[frozenset[str]] = []
    run = ""
    for operator, argument in items:
        letter = chr(argument).lower() if str(operator) == "LITERAL" else ""
        if len(letter) == 1:
            run += letter
            continue
        found += [frozenset([run])] if run else []
        run = ""
        found += _of_item(str(operator), argument)
    return [*found, frozenset([run])] if run else found


def _of_item(operator: str, argument: Any) -> list[frozenset[str]]:
    if operator == "SUBPATTERN":
        return _of_sequence(argument[-1])
    if operator == "ATOMIC_GROUP":
        return _of_sequence(argument)
    if operator in _REPEATS and argument[0] > 0:
        return _of_sequence(argument[2])
    if operator == "ASSERT":  # text around the match
        return _of_sequence(argument[1])
    if operator == "IN" and len(argument) <= _MAX_CHARACTERS and all(str(kind) == "LITERAL" for kind, _ in argument):
        return [frozenset(chr(code).lower() for _, code in argument)]
    if operator == "BRANCH":
        branches = [_of_sequence(branch) for branch in argument[1]]
        best = [max(sets, key=lambda texts: min(map(len, texts)), default=None) for sets in branches]
        known = [texts for texts in best if texts]
        return [frozenset().union(*known)] if len(known) == len(best) else []
    return []
