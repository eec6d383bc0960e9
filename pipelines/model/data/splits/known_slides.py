"""The slides and patients that a run knows, itself or from the runs it started from.

Slides are looked up by slide id and by patient, because a cohort table may name patients differently or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.run_manifest import SPLITS_FILE, RunManifest
from pipelines.core.schemas import SPLITS

_STRICTNESS = {"train": 2, "val": 1, "test": 0}
"""A patient that runs used differently counts as the strictest use."""


@dataclass(frozen=True)
class Use:
    """How a run used a patient."""

    split: str
    learned_from: bool
    """Whether weights were fitted to the patient's label or description."""
    fold: int | None = None

    def merged(self, other: Use | None) -> Use:
        """Return the stricter of both splits, and whether either learned."""
        if other is None:
            return self
        strict = self if _STRICTNESS[self.split] >= _STRICTNESS[other.split] else other
        return Use(strict.split, self.learned_from or other.learned_from, strict.fold)


@dataclass(frozen=True)
class Matches:
    """Slides of a table that a run knows."""

    uses: Mapping[str, Use]
    """Slide id -> use by the run."""
    counts: Mapping[str, int]
    """How slides were matched -> number of slides."""


@dataclass(frozen=True)
class KnownSlides:
    """All slides and patients of a run and of the runs it started from."""

    run: Path
    rows: Sequence[Mapping[str, Any]]
    """Rows of the SPLITS table."""

    @classmethod
    def of_run(cls, run: Path, manifest: RunManifest | None = None) -> KnownSlides:
        """Read the splits of a run.

        Parameters
        ----------
        manifest
            Manifest of the run if it is known already.

        Raises
        ------
        ArtifactError
            The run is not complete, or the table is missing, damaged, of another run or of another version.
        """
        return cls(run, SPLITS.read_rows((manifest or RunManifest.read(run)).verified(SPLITS_FILE)))

    @property
    def path(self) -> Path:
        """The table that the rows come from."""
        return self.run / SPLITS_FILE

    def match(self, slides: Sequence[CohortSlide], *, refuse_conflicts: bool = True) -> Matches:
        """Look up ``slides`` by slide id and by patient.

        A known slide keeps its split, whatever the table calls its patient. A patient of the run gives its split to
        new slides, and so does a patient of the table to all slides that the table gives it.

        Parameters
        ----------
        refuse_conflicts
            Refuse a patient of the table that the run has in two splits. Otherwise the strictest use counts.

        Raises
        ------
        CohortError
            The slide id and the patient of a slide are in different splits of the run, or two slides of a patient are.
        """
        by_slide, by_patient = self._uses("slide_id"), self._uses("patient_id")
        found: dict[str, tuple[str, Use]] = {}
        for slide in slides:
            for use in (by_slide.get(slide.slide_id), by_patient.get(slide.patient_id or "")):
                if use is None:
                    continue
                first, earlier = found.get(slide.patient, (slide.slide_id, use))
                if refuse_conflicts and earlier.split != use.split:
                    raise self._conflict(slide, use.split, first, earlier.split)
                found[slide.patient] = (first, earlier.merged(use))
        named = sum(slide.slide_id in by_slide for slide in slides)
        known = {slide.slide_id: found[slide.patient][1] for slide in slides if slide.patient in found}
        counts = {
            "slides_matched_by_slide_id": named,
            "slides_matched_by_patient": len(known) - named,
            "slides_new_to_the_run": len(slides) - len(known),
        }
        return Matches(known, counts)

    def match_rows(self, rows: Sequence[Mapping[str, Any]], *, refuse_conflicts: bool = True) -> Matches:
        """Look up the slides in rows of the SPLITS table; see `match`."""
        slides = [CohortSlide(row["slide_id"], patient_id=row["patient_id"]) for row in rows]
        return self.match(slides, refuse_conflicts=refuse_conflicts)

    def _uses(self, key: str) -> dict[str, Use]:
        uses: dict[str, Use] = {}
        for row in self.rows:
            use = Use(row["split"], bool(row.get("learned_from")), row["fold"])
            uses[row[key]] = use.merged(uses.get(row[key]))
        return uses

    def _conflict(self, slide: CohortSlide, split: str, first: str, earlier: str) -> CohortError:
        if first == slide.slide_id:
            what = f"slide {first!r} is in {earlier}, but its patient {slide.patient!r} in {split}"
        else:
            what = f"{first!r} in {earlier}, {slide.slide_id!r} in {split}"
            what = f"patient {slide.patient!r} has slides in two splits: {what}"
        return CohortError(
            f"{self.run}: slides or patients have other names than in these splits: {what}",
            hint="name slides and patients in the cohort table as in that run, or train again with this table",
        )


def recorded_rows(
    own: Sequence[Mapping[str, Any]], learned: Collection[str], known: KnownSlides | None
) -> list[dict[str, Any]]:
    """Return the rows of the SPLITS table of a run: its ``own`` slides, then those that only earlier runs used.

    Parameters
    ----------
    learned
        Ids of the slides to whose labels or descriptions this run fits weights.
    known
        Slides of the run that this one starts from (``--init``), and of its ancestors.

    Raises
    ------
    CohortError
        A patient of an earlier run has slides in two of the new splits.
    """
    earlier = known.match_rows(own, refuse_conflicts=False).uses if known else {}
    rows = [
        {
            **row,
            "learned_from": row["slide_id"] in learned
            or (row["slide_id"] in earlier and earlier[row["slide_id"]].learned_from),
            "carried_from": None,
        }
        for row in own
    ]
    return rows + (_carried(known, rows) if known else [])


def _carried(known: KnownSlides, own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of earlier runs that ``own`` lacks; a patient that both have keeps its new split."""
    names = {(row["slide_id"], row["patient_id"]) for row in own}
    now = KnownSlides(Path("the new splits"), own).match_rows(known.rows).uses
    return [
        {
            **row,
            "split": now[row["slide_id"]].split if row["slide_id"] in now else row["split"],
            "carried_from": row["carried_from"] or known.run.name,
        }
        for row in known.rows
        if (row["slide_id"], row["patient_id"]) not in names
    ]
