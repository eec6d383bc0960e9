"""The cohort table: one row a slide. Read from CSV, Parquet, or a folder of slides."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.dicom import series_uid
from pipelines.core.errors import CohortError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "slide_id": ("slide_id", "slide", "filename", "wsi", "sample_id"),
    "path": ("path", "image_path", "slide_path"),
    "patient_id": ("patient_id", "case_id", "patient"),
    "mpp": ("mpp", "spacing_at_level_0"),
    "label": ("label", "target"),
    "split": ("split",),
    "site": ("site", "tissue_source_site", "tss", "center", "centre", "institution"),
}
"""Column names that are understood, lower-cased; the first is ours."""

SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".qptiff"}
    | {".png", ".jpg", ".jpeg"}
)
"""Files of a folder that are taken for slides."""
FILE_SUFFIXES = SLIDE_SUFFIXES | {".h5"}
"""Ends of ids that are file names: other tools list slides, or their features, by file."""


RESERVED_ID = "slides"
"""Every stage writes ``slides.parquet`` beside the files of the slides."""


@dataclass(frozen=True)
class CohortSlide:
    """One row of the cohort table."""

    slide_id: str
    """Unique; kept as text; may contain ``/``."""
    path: Path | None = None
    """Slide file; None where the table has no path (enough for training)."""
    patient_id: str | None = None
    mpp: float | None = None
    """Microns per pixel at level 0 as the cohort states it."""
    label: str | None = None
    split: str | None = None
    site: str | None = None
    """Where the slide was made: a hospital or a laboratory."""

    @property
    def patient(self) -> str:
        """The patient id, or the slide id where the cohort names no patient."""
        return self.patient_id or self.slide_id


def read_cohort(source: Path) -> list[CohortSlide]:
    """Read the slides of a cohort table, of a folder of slides, or a single slide file.

    Ids of a folder are relative paths without extension; the files of a DICOM series in one
    folder are one slide, named after the first of them. Relative paths of a table are
    resolved against the table's folder. Ids of a table without paths may be file names, as
    other tools have them: they are given the id that a folder of these files gives.

    Raises
    ------
    CohortError
        The table is missing or unreadable, has no id and no path column, or repeats an id.
    """
    if source.is_dir():
        slides = _folder_slides(source)
    elif source.suffix.lower() in SLIDE_SUFFIXES:
        slides = [CohortSlide(source.stem, source)]
    else:
        rows = read_rows(source)
        names = canonical_columns(rows[0].keys() if rows else (), ALIASES)
        if "slide_id" not in names and "path" not in names:
            raise CohortError(
                f"{source}: no slide_id and no path column",
                hint=f"separate columns by commas, and name one {', '.join(ALIASES['slide_id'] + ALIASES['path'])}",
            )
        slides = _named_by_file([_slide(row, names, source, line) for line, row in enumerate(rows, start=2)], source)
    if not slides:
        raise CohortError(f"{source}: no slides found", hint=f"known suffixes: {' '.join(sorted(SLIDE_SUFFIXES))}")
    _refuse_repeats(slides, source)
    return slides


def restricted(slides: Sequence[CohortSlide], cohort: Path | None) -> list[CohortSlide]:
    """Return the slides that the table at ``cohort`` names, with what it says of them.

    A slide that the table names and ``slides`` lacks stays, without a path if the table has
    none, so that its absence is recorded. All slides where ``cohort`` is None.
    """
    if cohort is None:
        return list(slides)
    found = {slide.slide_id: slide for slide in slides}
    named = read_cohort(cohort)
    return [
        replace(row, path=found[row.slide_id].path, mpp=row.mpp or found[row.slide_id].mpp)
        if row.slide_id in found
        else row
        for row in named
    ]


def read_rows(source: Path) -> list[dict[str, Any]]:
    """Read a CSV or Parquet table as mappings; CSV values stay text (leading zeros kept).

    Raises
    ------
    CohortError
        The file is missing, not UTF-8, or not a table.
    """
    if not source.is_file():
        raise CohortError(f"{source}: no such table", hint="give a .csv or .parquet file, or a folder")
    if source.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            found: list[dict[str, Any]] = pq.read_table(source, partitioning=None).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise CohortError(f"{source}: not a readable Parquet file ({type(error).__name__})") from error
        return found
    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(
            f"{source}: not a UTF-8 CSV table ({type(error).__name__})", hint="save it as CSV in UTF-8"
        ) from error


def canonical_columns(found: Sequence[str] | Any, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return our name -> column name for the columns that are understood, in any case."""
    by_lower = {str(name).strip().lower(): str(name) for name in found if name is not None}
    return {
        ours: next(by_lower[alias] for alias in accepted if alias in by_lower)
        for ours, accepted in aliases.items()
        if any(alias in by_lower for alias in accepted)
    }


def _folder_slides(folder: Path) -> list[CohortSlide]:
    visible = folder.rglob("[!.]*")  # hidden ones are half written, or what macOS notes on other files
    files = _slides_of(sorted(p for p in visible if p.suffix.lower() in SLIDE_SUFFIXES and p.is_file()))
    ids = _without_suffix([p.relative_to(folder) for p in files])
    return [CohortSlide(slide_id, path) for slide_id, path in zip(ids, files, strict=True)]


def _without_suffix(files: Sequence[Path]) -> list[str]:
    """Return an id for each file: its path without suffix, or with it where two files differ in nothing else."""
    stems = [file.with_suffix("").as_posix() for file in files]
    times = Counter(stems)
    return [file.as_posix() if times[stem] > 1 else stem for file, stem in zip(files, stems, strict=True)]


def _named_by_file(slides: Sequence[CohortSlide], source: Path) -> list[CohortSlide]:
    """Return the slides, those without a path whose id is a file name with that file and its id."""
    by_file = [s for s in slides if s.path is None and Path(s.slide_id).suffix.lower() in FILE_SUFFIXES]
    new_ids = dict(
        zip([s.slide_id for s in by_file], _without_suffix([Path(s.slide_id) for s in by_file]), strict=True)
    )

    def renamed(slide: CohortSlide) -> CohortSlide:
        is_slide = Path(slide.slide_id).suffix.lower() in SLIDE_SUFFIXES
        path = source.parent / slide.slide_id if is_slide else None
        return replace(slide, slide_id=new_ids[slide.slide_id], path=path)

    return [renamed(slide) if slide.path is None and slide.slide_id in new_ids else slide for slide in slides]


def _slides_of(files: Sequence[Path]) -> list[Path]:
    """Return the file that stands for each slide: the first of each DICOM series in a folder, every other file."""
    series: set[tuple[Path, str]] = set()
    slides = []
    for file in files:
        uid = series_uid(file) if file.suffix.lower() == ".dcm" else None
        if uid is None or (file.parent, uid) not in series:
            slides.append(file)
        if uid is not None:
            series.add((file.parent, uid))
    return slides


def _slide(row: Mapping[str, Any], names: Mapping[str, str], source: Path, line: int) -> CohortSlide:
    def value(name: str) -> str | None:
        raw = row.get(names[name]) if name in names else None
        return str(raw).strip() or None if raw is not None else None

    path = Path(value("path") or "") if value("path") else None
    slide_id = value("slide_id") or (path.with_suffix("").as_posix() if path else None)
    if slide_id is None:
        raise CohortError(f"{source}: line {line} has no slide_id")
    return CohortSlide(
        slide_id=slide_id,
        path=source.parent / path if path else None,
        patient_id=value("patient_id"),
        mpp=_mpp(value("mpp"), source, line),
        label=value("label"),
        split=value("split"),
        site=value("site"),
    )


def _mpp(text: str | None, source: Path, line: int) -> float | None:
    if text is None:
        return None
    try:
        mpp = float(text)
    except ValueError:
        mpp = float("nan")
    if not 0 < mpp < float("inf"):
        raise CohortError(
            f"{source}: line {line}: mpp {text!r} is not a positive number",
            hint="write microns per pixel like 0.25, and nothing where they are not known",
        )
    return mpp


def _refuse_repeats(slides: Sequence[CohortSlide], source: Path) -> None:
    seen: set[str] = set()
    for slide in slides:
        if slide.slide_id in seen:
            raise CohortError(f"{source}: slide_id {slide.slide_id!r} stands twice", hint="make the ids unique")
        if {"", ".", ".."} & set(slide.slide_id.split("/")):
            raise CohortError(
                f"{source}: slide_id {slide.slide_id!r} is no path within the output folder",
                hint="give the slides ids of their own in a column 'slide_id'",
            )
        if slide.slide_id == RESERVED_ID:
            raise CohortError(
                f"{source}: slide_id {RESERVED_ID!r} is the name of the summary tables", hint="choose another id"
            )
        seen.add(slide.slide_id)
