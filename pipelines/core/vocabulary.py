"""The words in a question file that the ``rules`` backend uses to read reports."""

from __future__ import annotations

import re
import warnings
from typing import Annotated

import regex
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_EXPRESSION = 1_000
"""Maximum number of characters of a regular expression."""


def expression_of(term: str) -> str | None:
    """Return the regular expression in a term such as ``/pT ?[12]/``; None for words."""
    return term[1:-1] if len(term) > 2 and term.startswith("/") and term.endswith("/") else None


def _checked_term(term: str) -> str:
    if not term.strip():
        raise ValueError("must not be empty")
    expression = expression_of(term)
    if expression is not None and (problem := _problem(expression)):
        raise ValueError(f"{term} is not a valid regular expression: {problem}")
    return term


def _problem(expression: str) -> str:
    """Return what is wrong with a regular expression that is joined with others, or an empty string."""
    if len(expression) > MAX_EXPRESSION:
        return f"longer than {MAX_EXPRESSION:,} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(f"(?:{expression})", re.IGNORECASE)
            regex.compile(f"(?:{expression})", regex.IGNORECASE)  # the module that searches, because it has time limits
    except (re.error, regex.error, OverflowError, RecursionError) as error:
        return str(error)
    if compiled.groupindex or _BACK_REFERENCE.search(expression):
        return "named groups and back-references are not supported"
    return "it matches an empty text" if compiled.match("") else ""


_BACK_REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*(?:\\[1-9]|\(\?\()")
"""A reference to a group by its number, which changes when expressions are joined."""

Term = Annotated[str, Field(min_length=1), AfterValidator(_checked_term)]
"""Words to search for. A space matches any white space, ``*`` the rest of a word; ``/.../`` is a regular expression."""


class StrictModel(BaseModel):
    """Base class of the parts of a question file: immutable, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rules(StrictModel):
    """How the ``rules`` backend finds the answer without a language model."""

    about: tuple[Term, ...] = ()
    """Words for the subject; clauses without one are skipped. If empty, the terms of the values suffice."""
    ignore: tuple[Term, ...] = ()
    """Words for other subjects, for example ``lymph node``; the piece between commas that has one is ignored.
    If ``about`` is empty, only the part of the piece from this word on is ignored."""
    skip: tuple[Term, ...] = ()
    """Words that exclude a whole clause; ``ignore`` excludes only the piece between commas."""
    negated: dict[str, str] = Field(default_factory=dict)
    """The value that a negated value turns into, for example ``involved: clear``."""
    several: str | None = None
    """Value for a clause that names several values, for example ``mixed``."""
    prefer: tuple[str, ...] = ()
    """Values in order of priority, for clauses of equal weight that contradict each other."""


class Language(StrictModel):
    """Words that negate, affirm or express doubt in the language of the reports; English by default."""

    negation: tuple[Term, ...] = (
        *("no", "not", "without", "free of", "free from", "clear of", "negative for", "absence of", "lack of"),
        *("neither", "nor", "cannot", "fails to", "failed to", "devoid of", "rule out", "uninvolved by"),
    )
    """Words before what they negate."""
    denied_after: tuple[Term, ...] = (
        *(
            "absent",
            "negative",
            "none",
            "uninvolved",
            "not *",
            "no",
            "cannot be found",
            "cannot be seen",
            "cannot be identified",
            "is free",
            "are free",
            "unremarkable",
        ),
    )
    """Words after what they negate: ``pleural invasion is not identified``."""
    affirmed_after: tuple[Term, ...] = ("present",)
    """Words after what they affirm. They stop a later negation: ``lymphatic - present. perineural - absent``."""
    scope_end: tuple[Term, ...] = ("but", "however", "although", "except", "though", "whereas", "while", "with")
    """Words that end the scope of a negation."""
    alternatives: tuple[Term, ...] = ("or", "nor")
    """Words that extend a negation across the commas of a list: ``no vascular, lymphatic or perineural invasion``."""
    denial: tuple[Term, ...] = ("no", "none", "not *", "absent", "negative*", "neg", "nil", "free", "uninvolved", "(-)")
    """A no after a label: ``Pleural invasion: absent``."""
    affirmation: tuple[Term, ...] = (
        *("yes", "present", "positive", "identified", "seen", "focal*", "extensive*", "+", "(+)", "probable"),
    )
    """A yes after a label."""
    uncertain: tuple[Term, ...] = (
        *("cannot be assessed", "cannot be determined", "cannot be excluded", "cannot exclude", "indeterminate"),
        *("not applicable", "n/a", "difficult to assess", "not assessed", "not evaluated", "cannot be evaluated"),
        *("not specified", "not stated", "not provided", "not reported", "not known", "not sampled", "will be *"),
        *("may invade", "may involve", "suspected", "cannot rule out", "cannot be ruled out"),
    )
    """Words that express doubt; a clause with one of these gives no answer."""
    boilerplate: tuple[Term, ...] = (
        *("any of the following", "tumor of any size", "in greatest dimension surrounded by", "bronchoscopic evidence"),
        *("metastasis in ipsilateral", "superficial spreading tumor"),
    )
    """Phrases of staging manuals; a clause with one of these is skipped."""
    gross: tuple[Term, ...] = (
        *("gross*", "macroscopic*", "on sectioning", "cut section", "cut surface", "serially section*", "sectioned"),
        *("submitted", "received", "inked", "cassette*", "block summary", "representative sections", "labeled"),
    )
    """Words of the gross description; a clause with one of these counts less than microscopy."""
