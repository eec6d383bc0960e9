"""Read split files of FiVE, CLAM and STAMP, so that results can be compared on the same splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import CohortError
from pipelines.core.json_text import parse_json
from pipelines.core.run_manifest import MANIFEST, SPLITS_FILE, RunManifest
from pipelines.core.schemas import SPLITS
from pipelines.core.settings import require
from pipelines.core.user_tables import cell_text, read_rows
from pipelines.model.data.splits.patient_splits import SPLIT_NAMES, make_splits


def read_splits(
    path: Path,
    slides: Sequence[CohortSlide],
    *,
    fold: int | None = None,
    val_fraction: float = 0.0,
    seed: int = 0,
    keep_sites: bool = True,
) -> list[dict[str, Any]]:
    """Return rows of the `SPLITS` table for the slides that a split file names, in the order of ``slides``.

    Three formats are supported: our ``splits.parquet``, CLAM's ``splits_<k>.csv`` (slide ids in the
    columns train, val and test) and STAMP's ``splits.json`` (patient ids, several folds). Slides that
    the file does not name are left out, because it may cover only a part of the cohort. The rules
    of `make_splits` apply.

    Parameters
    ----------
    fold
        Fold of a STAMP file to test, from 0; ignored for the other formats.
    val_fraction, seed, keep_sites
        Used to draw validation patients from the training patients if the file has none; see `make_splits`.

    Raises
    ------
    CohortError
        The file has another format, names no slide of the cohort, or puts a slide or patient in
        two splits.
    SettingsError
        ``fold`` is missing or out of range for a STAMP file.
    ArtifactError
        A Parquet file is not a splits table, or it is in the folder of a run to which it does not belong.
    """
    return make_splits(
        slides_in_file(path, slides, fold=fold),
        folds=None,
        fold=None,
        val_fraction=val_fraction,
        test_fraction=0,
        seed=seed,
        keep_sites=keep_sites,
    )


def slides_in_file(path: Path, slides: Sequence[CohortSlide], *, fold: int | None = None) -> list[CohortSlide]:
    """Return the slides that a split file names, with their splits in this file; see `read_splits`."""
    if path.suffix == ".parquet":
        if path.name == SPLITS_FILE and (path.parent / MANIFEST).exists():  # the table in a complete run
            RunManifest.read(path.parent).verified(SPLITS_FILE)
        split_of = {row["slide_id"]: row["split"] for row in SPLITS.read_rows(path)}
    elif path.suffix == ".json":
        patients = _stamp_patients(path, fold)
        split_of = {slide.slide_id: patients[slide.patient] for slide in slides if slide.patient in patients}
    else:
        split_of = _clam_slides(path)
    named = [replace(slide, split=split_of[slide.slide_id]) for slide in slides if slide.slide_id in split_of]
    if not named:
        raise CohortError(
            f"{path}: names no slide of the cohort", hint="use the slide ids of the cohort table, without file suffix"
        )
    return named


def n_folds(path: Path) -> int:
    """Return the number of folds in a STAMP file."""
    return len(_stamp_folds(path))


def _clam_slides(path: Path) -> dict[str, str]:
    """Return slide id -> split; empty cells pad the shorter columns."""
    rows = read_rows(path)
    if not rows or not {"train", "test"} <= rows[0].keys():
        raise CohortError(f"{path}: no columns train and test", hint="expected CLAM's splits_<k>.csv")
    if any(row[split] in ("True", "False") for row in rows for split in ("train", "test")):
        raise CohortError(
            f"{path}: has True and False instead of slide ids",
            hint="use the splits_<k>.csv in the same folder, not the _bool file",
        )
    named = [(cell_text(row[split]), split) for split in SPLIT_NAMES if split in rows[0] for row in rows]
    return _unique([(name, split) for name, split in named if name], path)


def _stamp_folds(path: Path) -> list[tuple[list[Any], list[Any]]]:
    """Return the training and the test patients of each fold."""
    try:
        folds = parse_json(path.read_text(encoding="utf-8"))["splits"]
        return [(list(split["train_patients"]), list(split["test_patients"])) for split in folds]
    except OSError as error:
        raise CohortError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CohortError(
            f"{path}: no list 'splits' of train_patients and test_patients", hint="expected STAMP's splits.json"
        ) from error


def _stamp_patients(path: Path, fold: int | None) -> dict[str, str]:
    """Return patient id -> split for one fold."""
    parts = _stamp_folds(path)
    require(
        fold is not None and 0 <= fold < len(parts),
        f"fold: {fold} is not in 0..{len(parts) - 1}, the folds of {path}",
        hint="pass the fold of the file to test",
    )
    train, test = parts[fold or 0]
    return _unique([(str(name), "train") for name in train] + [(str(name), "test") for name in test], path)


def _unique(named: Sequence[tuple[str, str]], path: Path) -> dict[str, str]:
    """Return name -> split; raise a `CohortError` if a name is in two splits."""
    split_of: dict[str, str] = {}
    for name, split in named:
        if split_of.setdefault(name, split) != split:
            raise CohortError(
                f"{path}: {name!r} is in two splits: {split_of[name]} and {split}", hint="keep it in one of them"
            )
    return split_of
