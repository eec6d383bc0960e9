"""Make a stand-in for a joint encoder of images and texts, from packaged parts and captions; nothing is downloaded.

    python -m tests.benchmarks.joint_standin tiles.csv -o standin
    five embed tiles -o features --encoder standin/joint_standin.py

``tiles.csv`` has the columns ``path`` (relative to the table), ``caption`` (or ``class``, a key of `CAPTIONS`) and
``source_image``. Half of the source images are used to fit the map. With classes, the script prints the AUC of
zero-shot scores for the tiles of the other half.

The stand-in is a ridge regression from image features to vectors of captions. It is clearly worse than CONCH or KEEP,
and it knows only what its captions say.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import roc_auc_score

from pipelines.core.files import file_fingerprint
from pipelines.core.text_models import PACKAGED, load_text_model, mean_of_tokens
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_tower import TextTower, load_text_tower

NAME = "joint_standin"
TEMPLATE = Path(__file__).with_name("standin_encoder.py")
RIDGES = tuple(10.0**power for power in range(-4, 2))
"""Strengths of the ridge penalty that are tried, relative to the mean variance of the features times their number."""
CAPTIONS = {
    "lung_aca": (
        "adenocarcinoma of the lung",
        "invasive adenocarcinoma, acinar pattern; tumor cells form glands",
        "lung adenocarcinoma with pleomorphic nuclei",
        "tumor: adenocarcinoma with lepidic and papillary growth",
    ),
    "lung_scc": (
        "squamous cell carcinoma of the lung",
        "keratinizing squamous cell carcinoma with intercellular bridges",
        "lung squamous carcinoma, sheets of tumor cells with keratin pearls",
        "tumor: squamous cell carcinoma",
    ),
    "lung_n": (
        "normal lung",
        "normal lung parenchyma with open alveoli and thin septa",
        "benign lung tissue, no tumor",
        "alveolar spaces without malignancy",
    ),
}
CHECKS = {
    "tumor against normal lung": (
        ("lung_aca", "lung_scc"),
        ("lung_n",),
        ("an H&E image of lung cancer", "malignant tumor cells"),
        ("an H&E image of healthy lung", "air spaces of normal lung tissue"),
    ),
    "adenocarcinoma against squamous cell carcinoma": (
        ("lung_aca",),
        ("lung_scc",),
        ("an H&E image of lung adenocarcinoma", "glandular differentiation"),
        ("an H&E image of lung squamous cell carcinoma", "squamous differentiation"),
    ),
}
"""Comparison -> classes of either side, and texts of either side, which are no captions."""


@dataclass(frozen=True)
class CaptionedTiles:
    """N tiles of groups, such as source images, with a caption each."""

    features: NDArray[np.float32]
    """(N, D) features of the packaged image encoder."""
    captions: Sequence[str]
    groups: Sequence[str]


def write_standin(tiles: CaptionedTiles, folder: Path) -> Path:
    """Write ``joint_standin.py`` and its numbers into ``folder``, and return the path of the Python file.

    The strength of the ridge penalty and the logit scale maximize the likelihood of the captions of a fifth of the
    groups. The map is then fitted to all tiles.
    """
    texts = sorted(set(tiles.captions))
    vectors = caption_vectors(texts)
    places = np.array([texts.index(caption) for caption in tiles.captions])
    text_mean = vectors[places].mean(axis=0)
    vectors = vectors - text_mean
    held_out = np.isin(tiles.groups, sorted(set(tiles.groups))[::5])
    losses = {ridge: _loss(tiles.features, vectors, places, held_out, ridge) for ridge in RIDGES}
    ridge = min(losses, key=lambda each: losses[each][0])
    logit_scale = losses[ridge][1]
    mean, weights = ridge_map(tiles.features, vectors[places], ridge)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = folder / f"{NAME}.safetensors"
    values = {"image_mean": mean, "map": weights, "text_mean": text_mean, "logit_scale": np.array([logit_scale])}
    save_file({name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}, numbers)
    stated = f'FINGERPRINT = "{file_fingerprint(numbers)}"'
    code = TEMPLATE.read_text(encoding="utf-8").replace('FINGERPRINT = ""', stated)
    path = folder / f"{NAME}.py"
    path.write_text(code, encoding="utf-8")
    return path


def ridge_map(
    features: NDArray[np.float32], targets: NDArray[np.float64], ridge: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the features, (D,), and the map (D, E) from centered features to ``targets`` (N, E).

    Parameters
    ----------
    ridge
        Penalty relative to the mean variance of a feature times the number of tiles.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    centered = features - mean
    gram = centered.T @ centered
    penalty = ridge * np.trace(gram) / len(gram)
    return mean, np.linalg.solve(gram + penalty * np.eye(len(gram)), centered.T @ (targets - targets.mean(axis=0)))


def _loss(
    features: NDArray[np.float32],
    vectors: NDArray[np.float64],
    places: NDArray[np.int64],
    held_out: NDArray[np.bool_],
    ridge: float,
) -> tuple[float, float]:
    """Return the mean negative log-likelihood of the captions of ``held_out`` tiles, and the best logit scale."""
    mean, weights = ridge_map(features[~held_out], vectors[places[~held_out]], ridge)
    cosines = _normalized((features[held_out] - mean) @ weights) @ _normalized(vectors).T

    def loss(log_scale: float) -> float:
        chosen = log_softmax(np.exp(log_scale) * cosines, axis=1)[np.arange(len(cosines)), places[held_out]]
        return float(-chosen.mean())

    best = minimize_scalar(loss, bounds=(0, np.log(100)), method="bounded")
    return float(best.fun), float(np.exp(best.x))


@torch.inference_mode()
def caption_vectors(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return the vectors of the packaged text model, (M, 384), L2-normalized."""
    model, tokenizer = load_text_model(PACKAGED)
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    vectors = mean_of_tokens(model(**tokens).last_hidden_state, tokens["attention_mask"])
    return _normalized(vectors.double().numpy())


def packaged_features(paths: Sequence[Path], batch: int = 64) -> NDArray[np.float32]:
    """Return the features (N, 1280) of the packaged image encoder for the tiles in ``paths``."""
    encoder = load_encoder(ENCODER_PRESETS["efficientnet-lite0-imagenet"])
    batches = (paths[start : start + batch] for start in range(0, len(paths), batch))
    return np.concatenate([encoder(_pixels(each)) for each in batches])


def zero_shot_auc(
    tower: TextTower, features: NDArray[np.float32], is_first: NDArray[np.bool_], texts: Sequence[Sequence[str]]
) -> float:
    """Return the AUC of the difference of cosines with two groups of texts, for joint features (N, E)."""
    first, second = (_normalized(tower(list(group)).mean(axis=0)) for group in texts)
    return float(roc_auc_score(is_first, _normalized(features) @ (first - second)))


def _pixels(paths: Sequence[Path]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in paths])


def _normalized(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def main() -> None:
    """Write the stand-in; with classes, print the zero-shot AUC for tiles of other source images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path, help="table with path, caption or class, and source_image")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the stand-in")
    parser.add_argument("--per-source", type=int, default=2, help="tiles used of each source image")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with options.tiles.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file)]
    rows = [rows[place] for place in _some_of_each(rows, options.per_source, rng)]
    sources = sorted({row["source_image"] for row in rows})
    fitted = set(rng.permutation(sources)[: len(sources) // 2].tolist())
    features = packaged_features([options.tiles.parent / row["path"] for row in rows])
    captions = [row.get("caption") or str(rng.choice(CAPTIONS[row["class"]])) for row in rows]
    training = np.array([row["source_image"] in fitted for row in rows])
    used = np.flatnonzero(training)
    groups = [rows[place]["source_image"] for place in used]
    path = write_standin(CaptionedTiles(features[used], [captions[place] for place in used], groups), options.output)
    print(f"{path}: a stand-in from {len(used)} tiles of {len(fitted)} source images")
    if "class" in rows[0]:
        kinds = np.array([row["class"] for row in rows])
        _check(path, features[~training], kinds[~training])


def _check(encoder: Path, features: NDArray[np.float32], kinds: NDArray[np.str_]) -> None:
    tower, numbers = load_text_tower(find_preset(str(encoder))), load_file(encoder.with_suffix(".safetensors"))
    joint = (features - numbers["image_mean"]) @ numbers["map"]
    for name, (first, second, *texts) in CHECKS.items():
        compared = np.isin(kinds, (*first, *second))
        auc = zero_shot_auc(tower, joint[compared], np.isin(kinds[compared], first), texts)
        print(f"zero-shot AUC, {name}: {auc:.3f} ({compared.sum()} tiles)")


def _some_of_each(rows: Sequence[dict[str, str]], number: int, rng: np.random.Generator) -> list[int]:
    """Return the places of up to ``number`` rows per source image."""
    places: dict[str, list[int]] = {}
    for place in rng.permutation(len(rows)).tolist():
        places.setdefault(rows[place]["source_image"], []).append(place)
    return sorted(place for group in places.values() for place in group[:number])


if __name__ == "__main__":
    main()
