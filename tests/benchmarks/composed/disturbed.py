"""Bags in which tumor is not the largest variation: two stains, and tiles with fat or pen marks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.encoders.encoder import Encoder, load_encoder
from pipelines.encoders.find_preset import find_preset
from tests.benchmarks.composed.bags import ARTEFACT, NORMAL_LUNG, Bags
from tests.benchmarks.composed.tiles import BATCH, NORMAL, STAINS, Tiles, picture, read_table

N_ARTEFACTS = 400
"""Number of fat tiles, and of tiles with pen marks."""
ARTEFACTS = (0.1, 0.3)
"""Range of the share of fat or pen tiles in a bag that has some."""
WITH_ARTEFACTS = 0.6
"""Share of bags that have fat, and of bags that have pen marks."""


def disturbed_tiles(tiles: Tiles, table: Path, cache: Path, *, encoder: str) -> Tiles:
    """Return ``tiles``, the same tiles in another stain, fat tiles, and tiles with pen marks, in this order.

    Only the features continue; the measures are those of ``tiles``.
    """
    if not cache.exists():
        np.save(cache, _features(table, load_encoder(find_preset(encoder))))
    return replace(tiles, features=np.concatenate([tiles.features, np.load(cache)]))


def disturb(bags: Bags, n_tiles: int, rng: np.random.Generator) -> Bags:
    """Give half of the bags the other stain, and replace normal tiles of many by fat or pen marks."""
    rows, parts = bags.rows.copy(), bags.parts.copy()
    for bag in range(len(rows)):
        if rng.random() < 0.5:
            rows[bag] += n_tiles
        for number in range(2):
            if rng.random() < WITH_ARTEFACTS / 2:
                normal = np.flatnonzero(parts[bag] == NORMAL_LUNG)
                places = rng.choice(
                    normal, min(len(normal) - 8, round(rng.uniform(*ARTEFACTS) * len(rows[bag]))), False
                )
                rows[bag, places] = 2 * n_tiles + number * N_ARTEFACTS + rng.integers(0, N_ARTEFACTS, len(places))
                parts[bag, places] = ARTEFACT
    return Bags(rows, bags.answers, parts)


def _features(table: Path, encoder: Encoder) -> NDArray[np.float16]:
    """Return the features of all tiles in the other stain, then of fat tiles, then of tiles with pen marks."""
    rng, rows = np.random.default_rng(0), read_table(table)
    paths = [table.parent / row["path"] for row in rows]
    normal = [path for path, row in zip(paths, rows, strict=True) if row["class"] == NORMAL]
    pens = [normal[number] for number in rng.integers(0, len(normal), N_ARTEFACTS)]
    made = [
        *(partial(_restained, path) for path in paths),
        *(partial(_fat, rng) for _ in range(N_ARTEFACTS)),
        *(partial(_with_pen, path, rng) for path in pens),
    ]
    features = [
        encoder(np.stack([make() for make in made[start : start + BATCH]])) for start in range(0, len(made), BATCH)
    ]
    return np.concatenate(features).astype(np.float16)


def _restained(path: Path) -> NDArray[np.uint8]:
    """Return a picture with 0.7 times the hematoxylin, 1.35 times the eosin, bluer hematoxylin, and a warm scanner."""
    rgb = picture(path)
    unit = STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)
    amounts = -np.log10((rgb.reshape(-1, 3).astype(np.float32) + 1) / 256) @ np.linalg.inv(unit)
    other = np.array([[0.55, 0.75, 0.37], [0.12, 0.97, 0.20], [0.268, 0.570, 0.776]])
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    light = 10 ** -((amounts * (0.7, 1.35, 1.0)) @ other) * (250, 240, 225)
    return np.asarray(light.reshape(rgb.shape).clip(0, 255), np.uint8)


def _fat(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a tile of large empty cells with thin pink walls."""
    tile = np.full((224, 224, 3), (243, 240, 244), np.uint8)
    step = int(rng.integers(45, 70))
    for y in range(-step // 2, 224 + step, step):
        for x in range(-step // 2, 224 + step, step):
            centre = (x + int(rng.integers(-8, 9)), y + int(rng.integers(-8, 9)))
            axes = (int(step * rng.uniform(0.45, 0.6)), int(step * rng.uniform(0.45, 0.6)))
            wall = tuple(int(v) for v in rng.normal((214, 150, 186), 8))
            cv2.ellipse(
                tile, centre, axes, float(rng.uniform(0, 180)), 0, 360, wall, int(rng.integers(2, 4)), cv2.LINE_AA
            )
    noisy = tile + rng.normal(0, 3, tile.shape)
    return np.asarray(cv2.GaussianBlur(noisy.clip(0, 255).astype(np.uint8), (0, 0), 0.8))


def _with_pen(path: Path, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture under a broad stroke of blue, green or black ink."""
    rgb = picture(path)
    ink = np.array([(30, 60, 170), (20, 120, 70), (25, 25, 30)][int(rng.integers(3))])
    mask = np.zeros(rgb.shape[:2], np.uint8)
    start, end = rng.integers(-40, 264, (2, 2)).tolist()
    cv2.line(mask, start, end, 255, int(rng.integers(60, 140)), cv2.LINE_AA)
    share = (mask[..., None] / 255) * rng.uniform(0.7, 0.95)
    return np.asarray(rgb * (1 - share) + ink * share, np.uint8)
