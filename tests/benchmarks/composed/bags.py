"""Compose bags of tiles with known findings, and write them as the artifacts that `five train` reads."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.feature_file import CoordsAttributes, FeatureInfo
from pipelines.core.feature_writer import feature_writer
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.questions import QuestionSet
from pipelines.core.schemas import ANSWERS, EMBEDDED_SLIDES
from tests.benchmarks.composed.tiles import NORMAL, TUMORS, Tiles
from tests.benchmarks.composed.wordings import COMBINATION, VISIBLE, WORDINGS

N_TILES = 72
TILE = 448
"""Edge of a tile, pixels at level 0."""
PROVENANCE = Provenance({"made_by": "tests.benchmarks.composed"})
TUMOR, NORMAL_LUNG, CLUSTER, ARTEFACT = range(4)
SHOWN_BY = {"air_spaces": NORMAL_LUNG, "inflammation": CLUSTER}
"""Question -> the kind of tile that shows its finding; tumor for the others."""


@dataclass(frozen=True)
class Bags:
    """n bags of N tiles with Q questions."""

    rows: NDArray[np.int64]
    """(n, N) tiles of each bag."""
    answers: NDArray[np.int64]
    """(n, Q) index of the answer to each question, in the order of `WORDINGS`."""
    parts: NDArray[np.int64]
    """(n, N) kind of each tile: tumor, normal lung, or cluster of nuclei in normal lung."""


@dataclass(frozen=True)
class Pools:
    """Masks over all tiles of one part of the source photographs, (T,) each."""

    tumor: dict[tuple[int, int, int], NDArray[np.int64]]
    """(type, cellularity, cytoplasm) -> tiles."""
    normal: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Normal lung with open, and with narrow air spaces."""
    clusters: NDArray[np.int64]
    """Normal lung with many nuclei."""


def halves(tiles: Tiles, rng: np.random.Generator, *, training: float = 0.6) -> tuple[Pools, Pools]:
    """Return the tiles of ``training`` of the photographs of each class, and those of the others."""
    chosen: set[str] = set()
    for kind in (*TUMORS, NORMAL):
        sources = np.unique(tiles.sources[tiles.kinds == kind])
        chosen |= set(rng.permutation(sources)[: int(training * len(sources))].tolist())
    is_training = np.isin(tiles.sources, sorted(chosen))
    return _pools(tiles, is_training), _pools(tiles, ~is_training)


def _pools(tiles: Tiles, part: NDArray[np.bool_]) -> Pools:
    tumor = {}
    for number, kind in enumerate(TUMORS):
        nuclei, eosin = (_ends(values, tiles.kinds == kind, 0.4, 0.6) for values in (tiles.nuclei, tiles.eosin))
        for cellularity in (0, 1):
            for cytoplasm in (0, 1):
                tumor[number, cellularity, cytoplasm] = np.flatnonzero(part & nuclei[cellularity] & eosin[cytoplasm])
    is_normal = tiles.kinds == NORMAL
    many, few = _ends(tiles.nuclei, is_normal, 0.7, 0.9)
    open_, narrow = _ends(tiles.white, is_normal, 0.4, 0.6)
    normal = np.flatnonzero(part & few & open_), np.flatnonzero(part & few & narrow)
    return Pools(tumor, normal, np.flatnonzero(part & many))


def _ends(
    values: NDArray[np.float32], members: NDArray[np.bool_], low: float, high: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of ``members`` lie above the quantile ``high``, and which below ``low``."""
    below, above = np.quantile(values[members], [low, high])
    return members & (values >= above), members & (values <= below)


def compose(pools: Pools, n: int, rng: np.random.Generator, *, without: tuple[int, ...] = ()) -> Bags:
    """Return ``n`` bags; each answer is drawn at random.

    Parameters
    ----------
    without
        Answers to the questions of `COMBINATION` that no bag has together.
    """
    answers = rng.integers(0, 2, (n, len(WORDINGS)))
    while without and (seen := has_combination(answers, without)).any():
        answers[seen] = rng.integers(0, 2, (seen.sum(), len(WORDINGS)))
    rows, parts = np.empty((n, N_TILES), np.int64), np.empty((n, N_TILES), np.int64)
    for bag in range(n):
        kind, cellularity, cytoplasm, extent, air, inflammation = answers[bag, :6].tolist()
        n_tumor = round(N_TILES * rng.uniform(*((0.25, 0.40) if extent == 0 else (0.05, 0.12))))
        n_cluster = int(rng.integers(4, 9)) if inflammation == 0 else 0
        tumor = pools.tumor[kind, cellularity, cytoplasm]
        drawn = [
            rng.choice(tumor, n_tumor, replace=len(tumor) < n_tumor),
            rng.choice(pools.normal[air], N_TILES - n_tumor - n_cluster),
            rng.choice(pools.clusters, n_cluster),
        ]
        order = rng.permutation(N_TILES)
        rows[bag] = np.concatenate(drawn)[order]
        parts[bag] = np.repeat([TUMOR, NORMAL_LUNG, CLUSTER], [len(part) for part in drawn])[order]
    return Bags(rows, answers, parts)


def has_combination(answers: NDArray[np.int64], combination: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which rows of ``answers`` (n, Q) have these answers to the questions of `COMBINATION`, (n,)."""
    places = [list(WORDINGS).index(name) for name in COMBINATION]
    return np.asarray((answers[:, places] == combination).all(axis=1))


def shows(bags: Bags, bag: int, question: str) -> NDArray[np.bool_]:
    """Return which tiles of a bag show the finding of a question, (N,)."""
    return np.asarray(bags.parts[bag] == SHOWN_BY.get(question, TUMOR))


def write_cohort(
    folder: Path,
    tiles: Tiles,
    bags: Bags,
    questions: QuestionSet,
    *,
    known: NDArray[np.bool_],
    answers: NDArray[np.int64],
) -> None:
    """Write features, descriptions and a cohort table in which every slide is in the training split.

    Parameters
    ----------
    known
        (n, Q) whether the description says the answer.
    answers
        (n, Q) answers in the descriptions.
    """
    names = [f"s{number:05d}" for number in range(len(bags.rows))]
    for name, rows in zip(names, bags.rows, strict=True):
        write_bag(folder / "features", name, tiles.features[rows])
    same = {"status": "ok", "encoder": "composed", "n_tiles": N_TILES}
    listed = [{"slide_id": name, "patient_id": name, **same} for name in names]
    EMBEDDED_SLIDES.write(folder / "features" / "slides.parquet", listed, PROVENANCE)
    described = [
        {
            "report_id": name,
            "patient_id": name,
            "question_id": question.id,
            "status": "value" if known[number, place] else "unknown",
            "description": list(question.values.values())[answers[number, place]].phrase
            if known[number, place]
            else "unknown",
        }
        for number, name in enumerate(names)
        for place, question in enumerate(questions.questions)
    ]
    asked = Provenance({"question_set": questions.fingerprint})
    ANSWERS.write(folder / "descriptions" / "answers.parquet", described, asked)
    write_questions(questions, folder / "descriptions" / "questions.yaml")
    with (folder / "cohort.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows(
            [
                ("slide_id", "patient_id", "label", "split"),
                *((n, n, TUMORS[a], "train") for n, a in zip(names, bags.answers[:, 0], strict=True)),
            ]
        )


def write_bag(
    folder: Path, slide_id: str, features: NDArray[Any], *, space: str = "", provenance: Provenance = PROVENANCE
) -> None:
    """Write a feature file whose tiles lie on a square grid."""
    side = int(np.ceil(np.sqrt(len(features))))
    corners = np.stack([np.arange(len(features)) % side, np.arange(len(features)) // side], axis=1) * TILE
    with feature_writer(
        folder / f"{slide_id}.h5",
        n_tiles=len(features),
        dim=features.shape[1],
        dtype="float16",
        info=FeatureInfo(slide_id, "composed", "0" * 16, 0.5, 0.5, 0.5, space),
        coords_attributes=CoordsAttributes(224, TILE, 20.0, 20.0, 0, slide_id, side * TILE, side * TILE),
        provenance=provenance,
    ) as writer:
        writer.add(features, corners)


def visible(names: Sequence[str] = tuple(WORDINGS)) -> list[int]:
    """Return the places of the questions that the tissue answers."""
    return [place for place, name in enumerate(names) if name in VISIBLE]
