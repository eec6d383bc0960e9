"""Rules for labels and class names: names that are nearly equal, and one label per patient."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipelines.core.errors import FiveError


@dataclass(frozen=True)
class PatientLabels:
    """The label of each patient, from the labels of the slides; slides without a label do not count."""

    label_of: Mapping[str, str]
    """Patient -> label, for patients whose labeled slides have the same label."""
    conflicts: Mapping[str, str]
    """Patient -> the different labels of the slides, such as ``LUAD, LUSC``."""

    def facts(self) -> dict[str, str]:
        """Return a fact to show about patients with different labels; an empty mapping if there are none."""
        if not self.conflicts:
            return {}
        patient, labels = next(iter(self.conflicts.items()))
        return {"patients_with_different_labels": f"{len(self.conflicts)}, for example {patient!r} ({labels})"}


def patient_labels(slides: Iterable[tuple[str, str | None]]) -> PatientLabels:
    """Return the labels of patients, given the patient and the label of each slide."""
    found: dict[str, set[str]] = defaultdict(set)
    for patient, label in slides:
        if label:
            found[patient].add(label)
    return PatientLabels(
        {patient: next(iter(labels)) for patient, labels in found.items() if len(labels) == 1},
        {patient: ", ".join(sorted(labels)) for patient, labels in found.items() if len(labels) > 1},
    )


def refuse_near_equal(names: Iterable[str], what: str, source: object, *, error: type[FiveError]) -> None:
    """Raise ``error`` if two different names differ only in case, white space or Unicode normalization.

    Parameters
    ----------
    what
        Plural of what the names are, for example ``labels``.
    source
        The file with the names, for the message.
    """
    seen: dict[str, str] = {}
    for name in names:
        earlier = seen.setdefault(_comparable(name), name)
        if earlier != name:
            look_alike = unicodedata.normalize("NFKC", earlier) == unicodedata.normalize("NFKC", name)
            show = ascii if look_alike else repr
            raise error(
                f"{source}: the {what} {show(earlier)} and {show(name)} differ only in case, white space or "
                "Unicode normalization",
                hint="write both in the same way, or give them names that differ in a letter or digit",
            )


def _comparable(name: str) -> str:
    """Return ``name`` in lower case and a normal form, without white space and characters that are not visible."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc"))
