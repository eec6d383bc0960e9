"""Draw a cohort with the masks of its findings, then tile and embed it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.feature_file import read_bag
from pipelines.core.settings import EmbedSettings, TileSettings
from pipelines.demo import SlideToDraw, draw_slide
from pipelines.embed import EmbedInputs, embed
from pipelines.model.data.bags import BagFile
from pipelines.synthetic.patients import Patient, draw_patients
from pipelines.synthetic.slide_file import write_pyramidal_slide
from pipelines.synthetic.tissue import FINDINGS, MPP
from pipelines.tile import TileInputs, TileResources, tile

GROWTH = ("glands", "nests")
MASKS = (*FINDINGS, "keratin_pearls", "growth")
"""Structures whose share of each tile is measured; ``growth`` is glands or nests."""


@dataclass(frozen=True)
class DrawnSlide:
    """A slide with N tiles."""

    bag: BagFile
    patient: Patient
    shares: Mapping[str, NDArray[np.float64]]
    """Name of `MASKS` -> (N,) share of each tile that the structure covers."""


def drawn_cohort(folder: Path, patients: int, seed: int, *, encoder: str, workers: int) -> list[DrawnSlide]:
    """Return the slides of a cohort; what ``folder`` already holds is kept."""
    slides = [
        SlideToDraw(slide_id, number, patient)
        for patient in draw_patients(patients, seed)
        for number, slide_id in enumerate(patient.slide_ids, start=1)
    ]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_draw, [folder] * len(slides), slides, [seed] * len(slides)))
    rows = [(s.slide_id, f"slides/{s.slide_id}.svs", s.patient.patient_id) for s in slides]
    write_csv(folder / "cohort.csv", [("slide_id", "path", "patient_id"), *rows])
    tile(TileInputs(folder / "cohort.csv"), folder / "tiles", TileSettings(), resources=TileResources(workers=workers))
    embed(EmbedInputs(folder / "tiles"), folder / "features", EmbedSettings(encoder=encoder))
    return [_read(folder, slide) for slide in slides]


def write_csv(path: Path, rows: Iterable[Sequence[str]]) -> None:
    """Write ``rows``, the first of which names the columns."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)


def _draw(folder: Path, slide: SlideToDraw, seed: int) -> None:
    masks = folder / "masks" / f"{slide.slide_id}.npz"
    if masks.exists():
        return
    drawn = draw_slide(slide, seed)
    masks.parent.mkdir(parents=True, exist_ok=True)
    (folder / "slides").mkdir(exist_ok=True)
    write_pyramidal_slide(folder / "slides" / f"{slide.slide_id}.svs", drawn.rgb, MPP)
    np.savez_compressed(masks, **drawn.masks)  # type: ignore[arg-type]


def _read(folder: Path, slide: SlideToDraw) -> DrawnSlide:
    path = folder / "features" / f"{slide.slide_id}.h5"
    bag = read_bag(path)
    with np.load(folder / "masks" / f"{slide.slide_id}.npz") as stored:
        masks = {name: stored[name] for name in stored.files}
    masks["growth"] = next(masks[name] for name in GROWTH if name in masks)
    nothing = np.zeros_like(masks["growth"])
    size = bag.tile_size_level0
    shares = {name: tile_shares(masks.get(name, nothing), bag.coords, size) for name in MASKS}
    return DrawnSlide(BagFile(slide.slide_id, path, len(bag.coords)), slide.patient, shares)


def tile_shares(mask: NDArray[np.bool_], corners: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    """Return the share of each square of edge ``size`` at ``corners`` (N, 2) that ``mask`` (H, W) covers, (N,)."""
    sums = cv2.integral(mask.view(np.uint8))
    height, width = mask.shape
    left, top = corners.T
    right, bottom = (left + size).clip(max=width), (top + size).clip(max=height)
    covered = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(covered / size**2)
