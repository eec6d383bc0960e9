"""Prediction without training on composed slides with few tumor tiles, by the rule of pooling.

    python -m tests.benchmarks.zero_shot_quality tiles.csv -o quality --draws 20

``tiles.csv`` has the columns ``path``, ``class`` (lung_aca, lung_scc, lung_n) and ``source_image``. In each draw, half
of the source images of each class teach a stand-in for a joint encoder (`joint_standin.py`), from captions of their
tiles. Slides are composed of tiles of the other half: tumor of one class among normal lung. The classes are the two
tumors, in texts that are no captions.

The table gives the mean over the draws of the AUC and of the balanced accuracy of the predicted class, with 95 %
intervals of the mean over the draws (Student's t).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from scipy.stats import t as student
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipelines.core.settings import EmbedSettings, PredictSettings
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower
from pipelines.model.networks.zero_shot.pooling import tile_weights
from pipelines.model.networks.zero_shot.similarities import cosine_similarities
from pipelines.model.networks.zero_shot.text_vectors import alternatives
from tests.benchmarks.composed.tiles import NORMAL, TUMORS, Tiles, read_tiles
from tests.benchmarks.joint_standin import CAPTIONS, CaptionedTiles, write_standin

TEXTS = {
    "lung_aca": ["an H&E image of lung adenocarcinoma", "glandular differentiation"],
    "lung_scc": ["an H&E image of lung squamous cell carcinoma", "squamous differentiation"],
}
OTHER = ["an H&E image of healthy lung", "air spaces of normal lung tissue"]
TILES_PER_SOURCE = 4
"""Tiles of each source image that teach the stand-in."""


@dataclass(frozen=True)
class Slides:
    """How the slides of a cohort are composed."""

    n_tiles: int
    tumor: tuple[float, float]
    """Lowest and highest share of tumor tiles."""
    n: int = 200
    """Number of slides."""

    def __str__(self) -> str:
        low, high = (round(100 * share) for share in self.tumor)
        return f"{self.n_tiles} tiles, {low} to {high} % tumor" if low != high else f"{self.n_tiles} tiles, {low} %"


COHORTS = (Slides(100, (0.02, 0.06)), Slides(1000, (0.02, 0.06)), Slides(100, (0.3, 0.3)), Slides(100, (1, 1)))
RULES: Mapping[str, PredictSettings] = {
    "topk": PredictSettings(),
    "topk 10 %": PredictSettings(top_share=0.1),
    "mean": PredictSettings(pooling="mean"),
    "attention": PredictSettings(pooling="attention"),
}


def main() -> None:
    """Print one row per composition of the slides and rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--sources", type=float, nargs="+", default=[1.0], help="share of the captioned images used")
    parser.add_argument("--other", nargs="+", default=OTHER, help="texts of other tissue")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    encoder = EmbedSettings().encoder
    tiles = read_tiles(options.tiles, options.output / f"{encoder}.npz", encoder=encoder)
    for share in options.sources:
        found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for seed in range(options.draws):
            folder = options.output / f"standin-{share}-{seed}"
            for key, value in measured(tiles, folder, np.random.default_rng(seed), share, options.other):
                found.setdefault(key, []).append(value)
        for (cohort, rule, gate), values in found.items():
            aucs, accuracies = np.array(values).T
            print(f"{share:.0%} {cohort:<26} {rule:<15} {gate:<8} {mean(aucs)}  {mean(accuracies)}", flush=True)


def mean(values: NDArray[np.float64]) -> str:
    """Return the mean with its 95 % interval."""
    half = float(student.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.3f} [{values.mean() - half:.3f}, {values.mean() + half:.3f}]"


def measured(
    tiles: Tiles, folder: Path, rng: np.random.Generator, share: float, other_texts: Sequence[str]
) -> Iterator[tuple[tuple[str, str, str], tuple[float, float]]]:
    """Yield (cohort, rule, gate) -> AUC and balanced accuracy of one draw."""
    taught = np.zeros(len(tiles.kinds), bool)
    shown = np.zeros(len(tiles.kinds), bool)
    for kind in (*TUMORS, NORMAL):
        sources = rng.permutation(np.unique(tiles.sources[tiles.kinds == kind]))
        half = len(sources) // 2
        taught |= np.isin(tiles.sources, sources[: max(2, round(share * half))])
        shown |= np.isin(tiles.sources, sources[half:])
    classes, other, temperature = compared(tiles, standin(tiles, np.flatnonzero(taught), folder, rng), other_texts)
    for cohort in COHORTS:
        labels = np.arange(cohort.n) % 2
        slides = [composed(tiles.kinds, shown, cohort, TUMORS[label], rng) for label in labels]
        for rule, settings in RULES.items():
            for gate, rest in (("", other[:0]), ("other", other)):
                logits = np.array(
                    [
                        (tile_weights(classes[:, rows], rest[:, rows], settings, temperature) * classes[:, rows]).sum(1)
                        for rows in slides
                    ]
                )
                auc = float(roc_auc_score(labels, logits[:, 1] - logits[:, 0]))
                yield (str(cohort), rule, gate), (auc, balanced_accuracy_score(labels, logits.argmax(axis=1)))


def composed(
    kinds: NDArray[Any], shown: NDArray[np.bool_], cohort: Slides, tumor: str, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the tiles of one slide."""
    n_tumor = max(1, round(rng.uniform(*cohort.tumor) * cohort.n_tiles))
    pools = [np.flatnonzero(shown & (kinds == kind)) for kind in (tumor, NORMAL)]
    return np.concatenate([rng.choice(pools[0], n_tumor), rng.choice(pools[1], cohort.n_tiles - n_tumor)])


def standin(tiles: Tiles, taught: NDArray[np.int64], folder: Path, rng: np.random.Generator) -> Path:
    """Write a stand-in that was taught on captions of some ``taught`` tiles of each source, and return its path."""
    by_source: dict[str, list[int]] = {}
    for place in rng.permutation(taught).tolist():
        by_source.setdefault(tiles.sources[place], []).append(place)
    used = [place for places in by_source.values() for place in places[:TILES_PER_SOURCE]]
    captions = [str(rng.choice(CAPTIONS[tiles.kinds[place]])) for place in used]
    sources = [str(tiles.sources[place]) for place in used]
    return write_standin(CaptionedTiles(tiles.features[used].astype(np.float32), captions, sources), folder)


def compared(
    tiles: Tiles, encoder: Path, other_texts: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return the similarities of all tiles to the classes (2, T) and to other tissue (M, T), and the temperature."""
    tower = load_text_tower(find_preset(str(encoder)))
    numbers = load_file(encoder.with_suffix(".safetensors"))
    joint = (tiles.features.astype(np.float32) - numbers["image_mean"]) @ numbers["map"]
    vectors = np.concatenate([alternatives("", TEXTS, tower, "TEXTS").vectors, tower(list(other_texts))])
    similarities = cosine_similarities(torch.from_numpy(joint), torch.from_numpy(vectors)).numpy()
    return similarities[:2], similarities[2:], 1 / tower.logit_scale


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    main()
