"""The words of a question file by which the ``rules`` backend reads reports."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _checked(term: str) -> str:
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        try:
            re.compile(term[1:-1])
        except re.error as error:
            raise ValueError(f"{term} is not a regular expression: {error}") from None
    return term


Term = Annotated[str, Field(min_length=1), AfterValidator(_checked)]
"""Words to look for: spaces match any white space, ``*`` the rest of a word, ``/.../`` is a regular expression."""


class Part(BaseModel):
    """Base of the parts of a question file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rules(Part):
    """How the ``rules`` backend finds the answer without a language model."""

    about: tuple[Term, ...] = ()
    """Words of the subject; a clause without one is passed over. Empty: the values' terms are enough."""
    ignore: tuple[Term, ...] = ()
    """Words that make a clause speak of something else, for example ``lymph node``."""
    skip: tuple[Term, ...] = ()
    """Words that void a whole clause; ``ignore`` voids only the piece between commas."""
    negated: dict[str, str] = Field(default_factory=dict)
    """What a value becomes under a negation, for example ``involved: clear``."""
    several: str | None = None
    """Value of a clause that names more than one value, for example ``mixed``."""
    prefer: tuple[str, ...] = ()
    """Values that win over the ones after them when clauses of equal weight differ."""


class Language(Part):
    """Words of the reports' language that negate, affirm or doubt; English unless the file says otherwise."""

    negation: tuple[Term, ...] = (
        *("no", "not", "without", "free of", "free from", "clear of", "negative for", "absence of", "lack of"),
        *("neither", "nor", "cannot", "fails to", "failed to", "devoid of", "rule out", "uninvolved by"),
    )
    """Stand before what they deny."""
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
    """Stand after what they deny: ``pleural invasion is not identified``."""
    affirmed_after: tuple[Term, ...] = ("present",)
    """Stand after what they affirm, and keep a later denial from it: ``lymphatic - present. perineural - absent``."""
    scope_end: tuple[Term, ...] = ("but", "however", "although", "except", "though", "whereas", "while", "with")
    """End what a negation reaches over."""
    alternatives: tuple[Term, ...] = ("or", "nor")
    """Carry a negation over the commas of a list: ``no vascular, lymphatic or perineural invasion``."""
    denial: tuple[Term, ...] = ("no", "none", "not *", "absent", "negative*", "neg", "nil", "free", "uninvolved", "(-)")
    """A bare no after a label: ``Pleural invasion: absent``."""
    affirmation: tuple[Term, ...] = (
        *("yes", "present", "positive", "identified", "seen", "focal*", "extensive*", "+", "(+)", "probable"),
    )
    """A bare yes after a label."""
    uncertain: tuple[Term, ...] = (
        *("cannot be assessed", "cannot be determined", "cannot be excluded", "cannot exclude", "indeterminate"),
        *("not applicable", "n/a", "difficult to assess", "not assessed", "not evaluated", "cannot be evaluated"),
        *("not specified", "not stated", "not provided", "not reported", "not known", "not sampled", "will be *"),
        *("may invade", "may involve", "suspected", "cannot rule out", "cannot be ruled out"),
    )
    """A clause with one of these gives no answer."""
    boilerplate: tuple[Term, ...] = (
        *("any of the following", "tumor of any size", "in greatest dimension surrounded by", "bronchoscopic evidence"),
        *("metastasis in ipsilateral", "superficial spreading tumor"),
    )
    """A clause with one of these quotes a staging manual."""
    gross: tuple[Term, ...] = (
        *("gross*", "macroscopic*", "on sectioning", "cut section", "cut surface", "serially section*", "sectioned"),
        *("submitted", "received", "inked", "cassette*", "block summary", "representative sections", "labeled"),
    )
    """A clause with one of these describes what the naked eye saw and yields to microscopy."""
