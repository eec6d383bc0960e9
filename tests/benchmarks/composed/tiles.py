"""Features and measured findings of single tiles, from a table of pictures with their class and source photograph."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset

NORMAL, TUMORS = "lung_n", ("lung_aca", "lung_scc")
STAINS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105], [0.268, 0.570, 0.776]])
"""Absorbance of hematoxylin, eosin and a rest in red, green and blue (Ruifrok and Johnston 2001)."""
BATCH = 64


@dataclass(frozen=True)
class Tiles:
    """T tiles, C channels."""

    features: NDArray[np.float16]
    """(T, C)"""
    kinds: NDArray[Any]
    """(T,) class of each tile."""
    sources: NDArray[Any]
    """(T,) photograph that the tile was cut from."""
    nuclei: NDArray[np.float32]
    """(T,) share of the pixels that hematoxylin stains."""
    eosin: NDArray[np.float32]
    """(T,) mean absorbance of eosin."""
    white: NDArray[np.float32]
    """(T,) share of bright pixels."""


def read_tiles(table: Path, cache: Path, *, encoder: str) -> Tiles:
    """Return the tiles of ``table`` (path, class, source_image); features are computed once and kept in ``cache``."""
    if not cache.exists():
        np.savez(cache, **vars(_measured(table, encoder)))
    with np.load(cache) as stored:
        return Tiles(**stored)


def _measured(table: Path, name: str) -> Tiles:
    rows = read_table(table)
    encoder = load_encoder(find_preset(name))
    features, measures = [], []
    for start in range(0, len(rows), BATCH):
        pictures = [picture(table.parent / row["path"]) for row in rows[start : start + BATCH]]
        features.append(encoder(np.stack(pictures)).astype(np.float16))
        measures += [_measures(picture) for picture in pictures]
    nuclei, eosin, white = np.array(measures, np.float32).T
    kinds, sources = np.array([row["class"] for row in rows]), np.array([row["source_image"] for row in rows])
    return Tiles(np.concatenate(features), kinds, sources, nuclei, eosin, white)


def read_table(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table of pictures: path, class, source_image."""
    with table.open() as stream:
        return list(csv.DictReader(stream))


def picture(path: Path) -> NDArray[np.uint8]:
    """Return the RGB pixels of a picture, (H, W, 3)."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def _measures(picture: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return the share of nuclei, the mean eosin and the share of white of RGB ``picture``, at half its size."""
    small = cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).reshape(-1, 3).astype(np.float32)
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    stains = -np.log10((small + 1) / 256) @ np.linalg.inv(unit)
    return float((stains[:, 0] > 0.35).mean()), float(stains[:, 1].mean()), float((small.min(axis=1) > 190).mean())
