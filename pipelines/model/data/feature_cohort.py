"""Find the slides of a cohort that have tile features, and check that all features can be used together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide, read_cohort
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import FeatureHeader, content_fingerprint, read_header, read_notes
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.model.data.bags import BagFile
from pipelines.model.data.feature_kind import FeatureKind

USABLE = ("ok", "empty")
"""Status of the slides whose features are used."""
MAX_NAMED = 3
"""Maximum number of files that an error names."""


@dataclass(frozen=True)
class FeatureCohort:
    """The slides whose tile features are used, and why the others are not."""

    slides: Sequence[CohortSlide]
    """Slides with at least one tile, and those in ``unusable``."""
    bags: Mapping[str, BagFile]
    """Slide id -> its feature file."""
    kind: FeatureKind
    """Kind of all features in ``bags``."""
    unusable: Mapping[str, ArtifactError]
    """Slide id -> what is wrong with its feature file."""
    missing: Sequence[str]
    """Ids of the slides in the cohort without a feature file that ``slides.parquet`` lists."""
    failed: Sequence[str]
    """Ids of the slides that `five embed` could not embed."""
    empty: Sequence[str]
    """Ids of the slides whose feature file has no tiles."""
    not_listed: int
    """Number of feature files in the folder that ``slides.parquet`` does not list. They are not used."""

    @property
    def given_encoder(self) -> str:
        """The encoder as `five embed` was given it; a path of an own file is not in the name of the encoder."""
        path = next(iter(self.bags.values())).path
        made_with = Provenance.from_attributes(read_notes(path)).settings
        return str(made_with.get("encoder", self.kind.encoder))

    def record(self, slide_ids: Iterable[str]) -> dict[str, str]:
        """Return slide id -> fingerprint of its features, which depends on their values."""
        return {slide_id: content_fingerprint(self.bags[slide_id].path) for slide_id in slide_ids}

    def left_out(self) -> dict[str, int]:
        """Return how many slides and files are not used, by reason; reasons of 0 are omitted."""
        counts = {
            "slides_without_features": len(self.missing),
            "slides_that_five_embed_failed_on": len(self.failed),
            "slides_without_tiles": len(self.empty),
            "feature_files_not_in_slides_parquet": self.not_listed,
        }
        return {reason: count for reason, count in counts.items() if count}


def read_feature_cohort(
    features: Path, cohort: Path | None, *, trained_on: FeatureKind | None = None, each_alone: bool = False
) -> FeatureCohort:
    """Return the slides of ``cohort`` (without it, all of ``features``) that have tiles.

    Only slides that ``slides.parquet`` of `five embed` lists as ok or empty are used. Patients missing from the
    cohort table are taken from there.

    Parameters
    ----------
    trained_on
        Features that the model needs. None needs the most frequent kind.
    each_alone
        Whether files that cannot be used are returned as ``unusable``, as with ``trained_on``. Otherwise they are an
        error.

    Raises
    ------
    ArtifactError
        A feature file cannot be used, all features are of another kind than ``trained_on``, no slide has tiles, or
        ``features`` has a subfolder per encoder.
    CohortError
        The cohort cannot be read.
    """
    rows = _embedded(features)
    slides = _cohort_slides(cohort, rows)
    listed = {
        slide.slide_id: features / f"{slide.slide_id}.h5"
        for slide in slides
        if rows.get(slide.slide_id, {}).get("status") in USABLE
    }
    paths = {slide_id: path for slide_id, path in listed.items() if path.exists()}
    headers, unusable = _read_headers(paths, rows)
    kind, others = _common_kind(paths, headers, trained_on)
    unusable |= others
    tolerant = each_alone or trained_on is not None
    if unusable and (not tolerant or kind is None or len(others) == len(headers) > 0):
        raise _summarized(unusable, len(paths))
    bags = {name: BagFile(name, paths[name], header.n_tiles) for name, header in headers.items() if name not in others}
    used = {name: bag for name, bag in bags.items() if bag.n_tiles}
    if kind is None or not (used or unusable):
        raise ArtifactError(
            f"{features}: none of the {len(slides)} slides has tile features here", hint="run `five embed` first"
        )
    failed = [slide.slide_id for slide in slides if rows.get(slide.slide_id, {}).get("status") == "failed"]
    return FeatureCohort(
        slides=[slide for slide in slides if slide.slide_id in used or slide.slide_id in unusable],
        bags=used,
        kind=kind,
        unusable=unusable,
        missing=[slide.slide_id for slide in slides if slide.slide_id not in paths and slide.slide_id not in failed],
        failed=failed,
        empty=[name for name in bags if name not in used],
        not_listed=_count_not_listed(features, rows),
    )


def _embedded(features: Path) -> dict[str, Mapping[str, Any]]:
    """Return the rows of ``slides.parquet`` by slide id."""
    encoders = sorted(table.parent for table in features.glob("*/slides.parquet"))
    if encoders and not (features / "slides.parquet").exists():
        raise ArtifactError(
            f"{features}: holds features of several encoders, one subfolder each",
            hint=f"pass one of {', '.join(map(str, encoders))}",
        )
    return {row["slide_id"]: row for row in EMBEDDED_SLIDES.read_rows(features / "slides.parquet")}


def _cohort_slides(cohort: Path | None, rows: Mapping[str, Mapping[str, Any]]) -> list[CohortSlide]:
    patients = {slide_id: row["patient_id"] for slide_id, row in rows.items()}
    if cohort is None:
        return [CohortSlide(slide_id, patient_id=patient) for slide_id, patient in patients.items()]
    return [
        slide if slide.patient_id else replace(slide, patient_id=patients.get(slide.slide_id))
        for slide in read_cohort(cohort)
    ]


def _read_headers(
    paths: Mapping[str, Path], rows: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, FeatureHeader], dict[str, ArtifactError]]:
    """Open each file once; return the headers, and what is wrong with the files that cannot be used."""
    headers, wrong = {}, {}
    for slide_id, path in paths.items():
        try:
            header = read_header(path)
            _compare(path, header, slide_id, rows[slide_id])
            headers[slide_id] = header
        except ArtifactError as error:
            wrong[slide_id] = error
    return headers, wrong


def _compare(path: Path, header: FeatureHeader, slide_id: str, row: Mapping[str, Any]) -> None:
    """Raise an `ArtifactError` if the file is not the one that ``row`` of ``slides.parquet`` is about."""
    if header.info.slide_id != slide_id:
        raise ArtifactError(
            f"{path}: these are the features of slide {header.info.slide_id!r}",
            hint="delete it and run `five embed` again",
        )
    listed = row["n_tiles"]
    if (row["status"] == "ok") != (header.n_tiles > 0) or listed not in (None, header.n_tiles):
        raise ArtifactError(
            f"{path}: {header.n_tiles} tiles, but slides.parquet lists it as {row['status']} with {listed} tiles",
            hint="run `five embed` again",
        )


def _common_kind(
    paths: Mapping[str, Path], headers: Mapping[str, FeatureHeader], trained_on: FeatureKind | None
) -> tuple[FeatureKind | None, dict[str, ArtifactError]]:
    """Return the kind that all features must have, by default the most frequent one, and what is wrong with others."""
    kinds = {slide_id: FeatureKind.of(header) for slide_id, header in headers.items()}
    if not kinds:
        return trained_on, {}
    kind = trained_on or Counter(kinds.values()).most_common(1)[0][0]
    example = next((slide_id for slide_id, its in kinds.items() if its == kind), None)
    expected = f"the run was trained on {kind}" if trained_on else f"{example!r} has {kind}"
    hint = (
        "embed the slides with the encoder, tile size and resolution of the run"
        if trained_on
        else "embed all slides of a cohort with one encoder, tile size and resolution: `five embed --overwrite`"
    )
    return kind, {
        slide_id: ArtifactError(f"{paths[slide_id]}: {its}, but {expected}", hint=hint)
        for slide_id, its in kinds.items()
        if its != kind
    }


def _summarized(unusable: Mapping[str, ArtifactError], n_files: int) -> ArtifactError:
    """Return one error for all feature files that cannot be used."""
    errors = list(unusable.values())
    if len(errors) == 1:
        return errors[0]
    named = "; ".join(error.message for error in errors[:MAX_NAMED])
    more = f"; and {len(errors) - MAX_NAMED} more" if len(errors) > MAX_NAMED else ""
    return ArtifactError(f"{len(errors)} of {n_files} feature files cannot be used: {named}{more}", hint=errors[0].hint)


def _count_not_listed(features: Path, rows: Mapping[str, Mapping[str, Any]]) -> int:
    """Return the number of feature files that are not in ``rows``, without those in folders with their own table."""
    count = 0
    for folder, subfolders, names in os.walk(features):
        subfolders[:] = [name for name in subfolders if not Path(folder, name, "slides.parquet").exists()]
        for name in names:
            if name.endswith(".h5") and not name.startswith("."):
                count += Path(folder, name).relative_to(features).as_posix().removesuffix(".h5") not in rows
    return count
