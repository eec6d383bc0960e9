"""Find the slides of a cohort that have tile features, and check that one encoder made all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.core.cohort import CohortSlide, read_cohort
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import content_fingerprint, feature_shape, read_info
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.model.data.bags import BagFile


@dataclass(frozen=True)
class FeatureKind:
    """The encoder of the features, the same for all slides of a cohort."""

    dim: int
    """Channels of a tile's features."""
    encoder: str
    encoder_fingerprint: str

    def __str__(self) -> str:
        return f"features of {self.encoder} ({self.dim} channels, weights {self.encoder_fingerprint})"


@dataclass(frozen=True)
class FeatureCohort:
    """The slides with at least one tile, and the ids of those without."""

    slides: Sequence[CohortSlide]
    bags: Mapping[str, BagFile]
    """Slide id -> its feature file."""
    kind: FeatureKind
    missing: Sequence[str]
    """Ids of the slides in the cohort without a feature file."""
    empty: Sequence[str]
    """Ids of the slides whose feature file has no tiles."""

    def record(self, slide_ids: Iterable[str]) -> dict[str, str]:
        """Return slide id -> fingerprint of its features, which depends on their values."""
        return {slide_id: content_fingerprint(self.bags[slide_id].path) for slide_id in slide_ids}


def read_feature_cohort(features: Path, cohort: Path | None) -> FeatureCohort:
    """Return the slides of ``cohort`` (without it, all of ``features``) that have tiles.

    Patients missing from the cohort table are taken from the table of `five embed`.

    Raises
    ------
    ArtifactError
        Different encoders made the files, no slide has tiles, or ``features`` has a subfolder per encoder.
    CohortError
        The cohort cannot be read.
    """
    encoders = sorted(table.parent for table in features.glob("*/slides.parquet"))
    if encoders and not (features / "slides.parquet").exists():
        raise ArtifactError(
            f"{features}: holds features of several encoders, one subfolder each",
            hint=f"pass one of {', '.join(map(str, encoders))}",
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
    with_tiles = {name: bag for name, bag in bags.items() if bag.n_tiles}
    if kind is None or not with_tiles:
        raise ArtifactError(
            f"{features}: none of the {len(slides)} slides has tile features here", hint="run `five embed` first"
        )
    return FeatureCohort(
        slides=[slide for slide in slides if slide.slide_id in with_tiles],
        bags=with_tiles,
        kind=kind,
        missing=[slide.slide_id for slide in slides if slide.slide_id not in bags],
        empty=[name for name in bags if name not in with_tiles],
    )


def _paths(features: Path, slide_ids: Sequence[str]) -> list[tuple[str, Path]]:
    return [(slide_id, features / f"{slide_id}.h5") for slide_id in slide_ids]


def _common_kind(features: Path, slide_ids: Sequence[str]) -> FeatureKind | None:
    first: FeatureKind | None = None
    for _, path in _paths(features, slide_ids):
        info = read_info(path)
        kind = FeatureKind(feature_shape(path)[1], info.encoder, info.encoder_fingerprint)
        first = first or kind
        if kind != first:
            raise ArtifactError(
                f"{path}: {kind}, but {slide_ids[0]!r} has {first}",
                hint="embed all slides of a cohort with one encoder: `five embed --overwrite`",
            )
    return first
