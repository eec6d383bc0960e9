"""Read the cohort: one row per slide, from a CSV or Parquet table, a folder of slides, or one slide file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.dicom import series_uid
from pipelines.core.errors import CohortError
from pipelines.core.item_names import name_problem, printable, safe_id, shown
from pipelines.core.labels import patient_labels, refuse_near_equal
from pipelines.core.user_tables import (
    PATIENT_NAMES,
    Names,
    canonical_columns,
    cell_text,
    nearest_names,
    read_rows,
    warn_of_unused,
)

COLUMNS: Names = {
    "slide_id": (
        *("slide_id", "slide", "slide_name", "filename", "wsi", "wsi_id", "image_id", "sample_id"),
        *("slide_submitter_id", "patient_id_sub"),
    ),
    "path": ("path", "image_path", "slide_path", "wsi_path", "file_path"),
    "patient_id": PATIENT_NAMES,
    "mpp": ("mpp", "spacing_at_level_0", "slide_mpp", "microns_per_pixel"),
    "label": ("label", "target", "class", "class_label"),
    "split": ("split", "dataset_split", "partition"),
    "site": (
        *("site", "site_id", "tissue_source_site", "tss", "center", "centre", "institution"),
        *("hospital", "laboratory"),
    ),
}
"""Columns of a cohort table."""

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
    problem: str | None = None
    """Why the slide cannot be used under its name; None if it can. Stages record it as failed."""

    @property
    def patient(self) -> str:
        """The patient id, or the slide id if the cohort has no patient."""
        return self.patient_id or self.slide_id


def read_cohort(source: Path) -> list[CohortSlide]:
    """Read the slides of a cohort table, a folder of slides, or a single slide file.

    - In a folder, the id of a slide is its relative path without suffix. The files of a DICOM
      series in one folder are one slide, named after the first file.
    - In a table, relative paths are resolved against the folder of the table.
    - Columns of a table that are not read are named in a warning of the log.
    - A slide whose id or path cannot be used has a `CohortSlide.problem`, and an id that can be recorded.
    - In a table without paths, ids may be file names. They are converted to the ids that a folder
      with these files would give.

    Raises
    ------
    CohortError
        The table is missing or unreadable, has neither an id nor a path column, repeats an id, or has
        two labels or sites that differ only in case, white space or Unicode normalization.
    """
    if source.is_dir():
        slides = _folder_slides(source)
    elif source.suffix.lower() in SLIDE_SUFFIXES:
        slides = [CohortSlide(source.stem, source)]
    else:
        rows = read_rows(source)
        columns = list(rows[0]) if rows else []
        names = canonical_columns(columns, COLUMNS, source)
        if "slide_id" not in names and "path" not in names:
            raise CohortError(
                f"{source}: no slide_id or path column",
                hint=nearest_names(columns, COLUMNS)
                + f"separate columns by commas, and name one {', '.join(COLUMNS['slide_id'] + COLUMNS['path'])}",
            )
        warn_of_unused(columns, names, COLUMNS, source)
        slides = _named_by_file([_slide(row, names, source, line) for line, row in enumerate(rows, start=2)], source)
    if not slides:
        raise CohortError(f"{source}: no slides found", hint=f"known suffixes: {' '.join(sorted(SLIDE_SUFFIXES))}")
    slides = [_checked(slide) for slide in slides]
    _refuse_repeated(slides, source)
    for what, values in (("labels", [s.label for s in slides]), ("sites", [s.site for s in slides])):
        refuse_near_equal([value for value in values if value], what, source, error=CohortError)
    return slides


def patient_facts(slides: Sequence[CohortSlide]) -> dict[str, str]:
    """Return facts to show: slides without a patient, and patients whose slides have different labels."""
    labels = patient_labels((slide.patient, slide.label) for slide in slides)
    without = sum(slide.patient_id is None for slide in slides)
    if not without:
        return labels.facts()
    if without == len(slides):
        patients = "one patient per slide, because there is no column with patients"
    else:
        patients = f"{without} of {len(slides)} slides have no patient; each of them counts as one patient"
    return {"patients": patients, **labels.facts()}


def slides_in_cohort(slides: Sequence[CohortSlide], cohort: Path | None) -> list[CohortSlide]:
    """Return the slides listed in the table ``cohort``, with the values of that table.

    Slides that the table lists and ``slides`` lacks are included, so that later stages can
    report them as missing. If ``cohort`` is None, return all slides.
    """
    if cohort is None:
        return list(slides)
    by_id = {slide.slide_id: slide for slide in slides}

    def completed(listed: CohortSlide) -> CohortSlide:
        found = by_id.get(listed.slide_id)
        if found is None:
            return listed
        return replace(listed, path=found.path, mpp=listed.mpp or found.mpp, problem=listed.problem or found.problem)

    return [completed(listed) for listed in read_cohort(cohort)]


def _folder_slides(folder: Path) -> list[CohortSlide]:
    visible = folder.rglob("[!.]*")  # hidden files are incomplete, or metadata written by macOS
    files = _one_file_per_slide(sorted(p for p in visible if p.suffix.lower() in SLIDE_SUFFIXES and p.is_file()))
    ids = _without_suffix([p.relative_to(folder) for p in files])
    return [CohortSlide(slide_id, path) for slide_id, path in zip(ids, files, strict=True)]


def _without_suffix(files: Sequence[Path]) -> list[str]:
    """Return one id per file: its path without suffix, or with suffix if the paths are otherwise equal."""
    stems = [_stem(file) for file in files]
    counts = Counter(stems)
    return [file.as_posix() if counts[stem] > 1 else stem for file, stem in zip(files, stems, strict=True)]


def _stem(path: Path) -> str:
    """Return a path without its suffix; `Path.with_suffix` raises for ``.`` and ``/``, which have no name."""
    return path.with_suffix("").as_posix() if path.name else path.as_posix()


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
        cell = row.get(names[name]) if name in names else None
        if isinstance(cell, (list, dict)):
            raise CohortError(f"{source}: line {line}: column {names[name]} is a list or a mapping", hint="write text")
        return cell_text(cell)

    path = Path(value("path") or "") if value("path") else None
    slide_id = value("slide_id") or (_stem(path) if path else None)
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
        mpp = float(text if "_" not in text else "nan")  # Python reads 0_25 as 25
    except ValueError:
        mpp = float("nan")
    if not 0 < mpp < float("inf"):
        raise CohortError(
            f"{source}: line {line}: mpp {text!r} is not a positive number",
            hint="write microns per pixel like 0.25, or leave the cell empty",
        )
    return mpp


def _checked(slide: CohortSlide) -> CohortSlide:
    """Return ``slide``; if its id or path cannot be used, with the problem and an id that can be recorded."""
    problem, name = name_problem(slide.slide_id), slide.slide_id
    if problem is None and slide.slide_id == RESERVED_ID:
        problem = "is reserved for the summary tables"
    if problem is None and slide.path is not None and printable(str(slide.path)) != str(slide.path):
        problem, name = "is not UTF-8, or has a NUL or another control character", str(slide.path)
    if problem is None:
        return slide
    return replace(slide, slide_id=safe_id(slide.slide_id), problem=f"slide {shown(name)}: the name {problem}")


def _refuse_repeated(slides: Sequence[CohortSlide], source: Path) -> None:
    seen: set[str] = set()
    for slide in slides:
        if slide.slide_id in seen:
            raise CohortError(f"{source}: slide_id {slide.slide_id!r} appears twice", hint="make the ids unique")
        seen.add(slide.slide_id)
