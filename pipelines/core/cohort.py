"""Read the cohort: one row per slide, from a CSV or Parquet table, a folder of slides, or one slide file."""

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
"""Our column names -> all accepted names, in lower case."""

SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".dcm", ".qptiff"}
    | {".png", ".jpg", ".jpeg"}
)
"""Suffixes of the files in a folder that are treated as slides."""
FILE_SUFFIXES = SLIDE_SUFFIXES | {".h5"}
"""Suffixes of ids that are file names; other tools list slides, or their features, by file name."""

RESERVED_ID = "slides"
"""Not allowed as a slide id, because every stage writes ``slides.parquet`` beside the files of the slides."""


@dataclass(frozen=True)
class CohortSlide:
    """One row of the cohort table."""

    slide_id: str
    """Unique; text, so leading zeros are kept; may contain ``/``."""
    path: Path | None = None
    """Slide file; None if the table has no path, which is enough for training."""
    patient_id: str | None = None
    mpp: float | None = None
    """Microns per pixel at level 0 according to the cohort."""
    label: str | None = None
    split: str | None = None
    site: str | None = None
    """Hospital or laboratory that made the slide."""

    @property
    def patient(self) -> str:
        """The patient id, or the slide id if the cohort has no patient."""
        return self.patient_id or self.slide_id


def read_cohort(source: Path) -> list[CohortSlide]:
    """Read the slides of a cohort table, a folder of slides, or a single slide file.

    - In a folder, the id of a slide is its relative path without suffix. The files of a DICOM
      series in one folder are one slide, named after the first file.
    - In a table, relative paths are resolved against the folder of the table.
    - In a table without paths, ids may be file names. They are converted to the ids that a folder
      with these files would give.

    Raises
    ------
    CohortError
        The table is missing or unreadable, has neither an id nor a path column, or repeats an id.
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
                f"{source}: no slide_id or path column",
                hint=f"separate columns by commas, and name one {', '.join(ALIASES['slide_id'] + ALIASES['path'])}",
            )
        slides = _named_by_file([_slide(row, names, source, line) for line, row in enumerate(rows, start=2)], source)
    if not slides:
        raise CohortError(f"{source}: no slides found", hint=f"known suffixes: {' '.join(sorted(SLIDE_SUFFIXES))}")
    _check_ids(slides, source)
    return slides


def slides_in_cohort(slides: Sequence[CohortSlide], cohort: Path | None) -> list[CohortSlide]:
    """Return the slides listed in the table ``cohort``, with the values of that table.

    Slides that the table lists and ``slides`` lacks are included, so that later stages can
    report them as missing. If ``cohort`` is None, return all slides.
    """
    if cohort is None:
        return list(slides)
    by_id = {slide.slide_id: slide for slide in slides}
    return [
        replace(listed, path=by_id[listed.slide_id].path, mpp=listed.mpp or by_id[listed.slide_id].mpp)
        if listed.slide_id in by_id
        else listed
        for listed in read_cohort(cohort)
    ]


def read_rows(source: Path) -> list[dict[str, Any]]:
    """Read a CSV or Parquet table as one mapping per row; CSV values stay text, with leading zeros.

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
            rows: list[dict[str, Any]] = pq.read_table(source, partitioning=None).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise CohortError(f"{source}: not a readable Parquet file ({type(error).__name__})") from error
        return rows
    try:
        with source.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CohortError(
            f"{source}: not a UTF-8 CSV table ({type(error).__name__})", hint="save it as CSV in UTF-8"
        ) from error


def canonical_columns(columns: Sequence[str] | Any, aliases: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return our name -> column name for all columns with an accepted name, in upper or lower case."""
    by_lower = {str(name).strip().lower(): str(name) for name in columns if name is not None}
    return {
        ours: next(by_lower[alias] for alias in accepted if alias in by_lower)
        for ours, accepted in aliases.items()
        if any(alias in by_lower for alias in accepted)
    }


def _folder_slides(folder: Path) -> list[CohortSlide]:
    visible = folder.rglob("[!.]*")  # hidden files are incomplete, or metadata written by macOS
    files = _one_file_per_slide(sorted(p for p in visible if p.suffix.lower() in SLIDE_SUFFIXES and p.is_file()))
    ids = _without_suffix([p.relative_to(folder) for p in files])
    return [CohortSlide(slide_id, path) for slide_id, path in zip(ids, files, strict=True)]


def _without_suffix(files: Sequence[Path]) -> list[str]:
    """Return one id per file: its path without suffix, or with suffix if the paths are otherwise equal."""
    stems = [file.with_suffix("").as_posix() for file in files]
    counts = Counter(stems)
    return [file.as_posix() if counts[stem] > 1 else stem for file, stem in zip(files, stems, strict=True)]


def _named_by_file(slides: Sequence[CohortSlide], source: Path) -> list[CohortSlide]:
    """Return the slides; those without a path and with a file name as id get the path and id of that file."""
    by_file = [s for s in slides if s.path is None and Path(s.slide_id).suffix.lower() in FILE_SUFFIXES]
    new_ids = dict(
        zip([s.slide_id for s in by_file], _without_suffix([Path(s.slide_id) for s in by_file]), strict=True)
    )

    def renamed(slide: CohortSlide) -> CohortSlide:
        is_slide = Path(slide.slide_id).suffix.lower() in SLIDE_SUFFIXES
        path = source.parent / slide.slide_id if is_slide else None
        return replace(slide, slide_id=new_ids[slide.slide_id], path=path)

    return [renamed(slide) if slide.path is None and slide.slide_id in new_ids else slide for slide in slides]


def _one_file_per_slide(files: Sequence[Path]) -> list[Path]:
    """Return one file per slide: the first file of each DICOM series in a folder, and every other file."""
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
            hint="write microns per pixel like 0.25, or leave the cell empty",
        )
    return mpp


def _check_ids(slides: Sequence[CohortSlide], source: Path) -> None:
    seen: set[str] = set()
    for slide in slides:
        if slide.slide_id in seen:
            raise CohortError(f"{source}: slide_id {slide.slide_id!r} appears twice", hint="make the ids unique")
        if {"", ".", ".."} & set(slide.slide_id.split("/")):
            raise CohortError(
                f"{source}: slide_id {slide.slide_id!r} is not a valid relative path",
                hint="add a column 'slide_id' with ids that have no empty, '.' or '..' parts",
            )
        if slide.slide_id == RESERVED_ID:
            raise CohortError(
                f"{source}: slide_id {RESERVED_ID!r} is reserved for the summary tables", hint="choose another id"
            )
        seen.add(slide.slide_id)
