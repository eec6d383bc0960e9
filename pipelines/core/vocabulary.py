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
        *("no", "not", "none", "without", "free of", "free from", "clear of", "negative for", "absence of"),
        *("lack of", "absent of", "neither", "nor", "never", "cannot", "fails to", "failed to", "devoid of"),
        *("rule out", "uninvolved by", "lacks", "lacking", "nil"),
    )
    """Words before what they negate."""
    prefix: tuple[Term, ...] = ("non",)
    """Words that negate only what follows at once: ``non-amplified``."""
    opposite: tuple[Term, ...] = ("not",)
    """Words before the clear value of a question that turn it into the other one: ``not free of tumor``."""
    denied_after: tuple[Term, ...] = (
        *("absent", "/negative\\b(?! (for|of)\\b)/", "none", "uninvolved", "not *", "no", "cannot be found"),
        *("cannot be seen", "cannot be identified", "is free", "are free", "unremarkable", "undetected"),
        *("unidentified", "undetectable", "unlikely", "ruled out", "excluded", "nil"),
    )
    """Words after what they negate: ``pleural invasion is not identified``."""
    affirmed_after: tuple[Term, ...] = ("present", "yes")
    """Words after what they affirm. They stop a later negation: ``lymphatic - present. perineural - absent``."""
    scope_end: tuple[Term, ...] = ("but", "however", "although", "except", "though", "whereas", "while", "with")
    """Words that end the scope of a negation."""
    contrast: tuple[Term, ...] = (
        *("but not", "and not", "but spares", "but without", "sparing", "rather than", "but does not reach"),
        *("but does not involve", "but uninvolved", "but free"),
    )
    """Words between a finding and what it does not concern: ``involves the pleura but not the margin``."""
    alternatives: tuple[Term, ...] = ("or", "nor")
    """Words that extend a negation across the commas of a list: ``no vascular, lymphatic or perineural invasion``."""
    denial: tuple[Term, ...] = (
        *("no", "none", "none *", "not *", "absent", "negative*", "neg", "nil", "free", "uninvolved", "(-)"),
        *("undetected", "unidentified", "not", "unlikely", "never"),
    )
    """A no after a label: ``Pleural invasion: absent``."""
    affirmation: tuple[Term, ...] = (
        *("yes", "present", "positive", "identified", "seen", "focal*", "extensive*", "+", "(+)", "probable"),
    )
    """A yes after a label."""
    uncertain: tuple[Term, ...] = (
        *("/\\b(cannot|can not|could not)( \\w+)? be( \\w+)? (assess|determin|evaluat|exclud|ruled out|confirm)/",),
        *("/\\b(cannot|can not)( \\w+)? (exclude|rule out|assess|determine)\\b/", "indeterminate"),
        *("not excluded", "not applicable", "n/a", "difficult to assess", "not assessed", "not evaluated"),
        *("not ruled out", "not specified", "not stated", "not provided", "not reported", "not known"),
        *("not sampled", "will be *", "may invade", "may involve", "may be *", "may represent", "might be *"),
        *("suspected", "suspicious", "suspicion", "suggestive", "suggests", "possible", "possibly"),
        *("questionable", "uncertain", "pending", "unknown", "unclear", "not clear if", "not clear whether"),
        *("not determined", "not evaluable", "inconclusive", "not available", "not performed"),
    )
    """Words that express doubt; a clause with one of these gives no answer."""
    earlier: tuple[Term, ...] = (
        *("previous", "previously", "prior", "formerly", "in the past", "history of", "h/o", "status post"),
        *("s/p", "earlier biopsy", "past medical history", "outside biopsy", "superseded"),
    )
    """Words about another time. The piece between commas that has one is left out, or else the whole clause."""
    family: tuple[Term, ...] = (
        *("family history", "familial", "mother", "father", "sister", "sisters", "brother", "aunt", "uncle"),
        *("grandmother", "grandfather", "maternal", "paternal", "cousin"),
    )
    """Words about other people; a clause with one of these is skipped."""
    correction: tuple[Term, ...] = (
        *("corrected", "correction", "amended", "amendment", "revised", "revision", "supersedes", "in error"),
        *("should read", "changed to"),
    )
    """Words of an addendum that replaces findings stated before."""
    boilerplate: tuple[Term, ...] = (
        *("any of the following", "tumor of any size", "in greatest dimension surrounded by"),
        *("bronchoscopic evidence", "metastasis in ipsilateral", "superficial spreading tumor"),
        *("reference range", "reference interval", "interpretation guide*", "scoring system", "scoring guide*"),
        *("is defined as", "are defined as", "e.g. if", "staging manual", "according to the guidelines"),
        *(
            "for reference",
            "normal range",
            "should be based",
            "treatment decision*",
            "clinical trial*",
            "studies indicate",
            "studies have",
            "TNM scheme",
        ),
    )
    """Phrases of staging manuals and reference ranges; a clause with one of these is skipped."""
    gross: tuple[Term, ...] = (
        *("gross*", "macroscopic*", "on sectioning", "cut section", "cut surface", "serially section*"),
        *("sectioned", "submitted", "received", "inked", "cassette*", "block summary"),
        *("representative sections", "labeled"),
    )
    """Words of the gross description; a clause with one of these counts less than microscopy."""
    heads: tuple[Term, ...] = (
        *("*invasion", "*invasive", "involv*", "*extension", "extent", "margin*", "*edge*", "grade*"),
        *("grading", "type", "size", "status", "necrosis", "stage", "staging", "differentiation", "component*"),
        *("node*", "score", "receptor*", "features", "deposits", "comment*", "note*", "diagnos*"),
        *("description", "procedure", "specimen*", "site", "tumor*", "tumour*", "effect", "pattern"),
        *("focality", "laterality", "metasta*", "history", "findings", "carcinoma", "in situ", "HER2*"),
        *("her-2*", "ER", "PR", "budding", "spread", "permeation", "thrombus", "depth", "distance"),
        *("expression", "proteins", "instability"),
    )
    """Words of labels that name a finding of their own."""
    qualifiers: tuple[Term, ...] = (
        *("proximal", "distal", "radial", "circumferential", "deep", "superficial", "anterior", "posterior"),
        *("superior", "inferior", "medial", "lateral", "left", "right", "apical", "apex", "base", "basal"),
        *("bladder neck", "bronchial", "vascular", "parenchymal", "*vascular", "*lymphatic", "lymphatic*"),
        *("venous", "arterial", "vein", "artery", "perineural", "small vessel*", "large vessel*"),
        *("blood vessel*", "ureter*", "urethral", "soft tissue", "visceral", "parietal", "mucosal"),
        *("mesenteric", "peripheral", "chest wall", "stapled", "FISH", "ISH", "IHC", "immunohisto*"),
        *("in situ hybridization", "result*", "details", "specify", "other", "percent*", "primary"),
        *("secondary", "overall", "invasive", "skin", "nipple", "all", "closest", "final"),
        *("bronchus", "vessels", "vessel", "parenchyma", "hilum", "hilar", "status", "extent", "focality"),
        *("location", "distance", "site", "sites", "type", "grade", "margin", "margins"),
    )
    """Words of labels that belong to the label before: ``Margins: distal: free``. A label that is only one of them does
    so even if it is a head too: ``Margins: status: free``."""
