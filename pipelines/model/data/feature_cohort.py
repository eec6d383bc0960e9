"""The slides of a cohort that have features, and what these features are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide, read_cohort
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import feature_shape, read_info
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.model.data.bags import BagFile


@dataclass(frozen=True)
class FeatureKind:
    """What the features of a cohort have in common."""

    dim: int
    encoder: str
    encoder_fingerprint: str


@dataclass(frozen=True)
class FeatureCohort:
    """Slides with at least one tile, and the counts of those without."""

    slides: Sequence[CohortSlide]
    bags: Mapping[str, BagFile]
    kind: FeatureKind
    missing: Sequence[str]
    """Slides of the cohort without a feature file."""
    empty: Sequence[str]
    """Slides whose feature file has no tiles."""

    def record(self) -> dict[str, Any]:
        """Return plain data that differ when the features differ, for a fingerprint."""
        bags = {name: (bag.n_tiles, bag.path.stat().st_size) for name, bag in self.bags.items()}
        return {"bags": bags, "encoder": self.kind.encoder_fingerprint}


def read_feature_cohort(features: Path, cohort: Path | None) -> FeatureCohort:
    """Return the slides of ``cohort``, or all of ``features``, that have tiles.

    A patient that the cohort does not name is taken from the table of `five embed`.

    Raises
    ------
    ArtifactError
        Two files come from different encoders, no slide has tiles, or the folder holds those of several encoders.
    CohortError
        The cohort cannot be read.
    """
    encoders = sorted(table.parent for table in features.glob("*/slides.parquet"))
    if encoders and not (features / "slides.parquet").exists():
        raise ArtifactError(
            f"{features}: features of several encoders, each in its folder",
            hint=f"name one of {', '.join(map(str, encoders))}",
        )
    rows = EMBEDDED_SLIDES.read_rows(features / "slides.parquet")
    patients = {row["slide_id"]: row["patient_id"] for row in rows}
    if cohort is None:
        slides = [CohortSlide(slide_id, patient_id=patient) for slide_id, patient in patients.items()]
    else:
        slides = [
            slide if slide.patient_id else replace(slide, patient_id=patients.get(slide.slide_id))
            for slide in read_cohort(cohort)
        ]
    present = [slide.slide_id for slide in slides if (features / f"{slide.slide_id}.h5").exists()]
    kind = _common_kind(features, present)
    bags = {name: BagFile(name, path, feature_shape(path)[0]) for name, path in _paths(features, present)}
    filled = {name: bag for name, bag in bags.items() if bag.n_tiles}
    if kind is None or not filled:
        raise ArtifactError(
            f"{features}: none of the {len(slides)} slides has tile features here", hint="run `five embed` first"
        )
    return FeatureCohort(
        slides=[slide for slide in slides if slide.slide_id in filled],
        bags=filled,
        kind=kind,
        missing=[slide.slide_id for slide in slides if slide.slide_id not in bags],
        empty=[name for name in bags if name not in filled],
    )


def _paths(features: Path, slide_ids: Sequence[str]) -> list[tuple[str, Path]]:
    return [(slide_id, features / f"{slide_id}.h5") for slide_id in slide_ids]


def _common_kind(features: Path, slide_ids: Sequence[str]) -> FeatureKind | None:
    first: FeatureKind | None = None
    for _, path in _paths(features, slide_ids):
        info = read_info(path)
        found = FeatureKind(feature_shape(path)[1], info.encoder, info.encoder_fingerprint)
        first = first or found
        if found != first:
            raise ArtifactError(
                f"{path}: {_words(found)}, but {slide_ids[0]!r} has {_words(first)}",
                hint="embed all slides of a cohort with one encoder: `five embed --overwrite`",
            )
    return first


def _words(kind: FeatureKind) -> str:
    return f"features of {kind.encoder} ({kind.dim} channels, weights {kind.encoder_fingerprint})"
