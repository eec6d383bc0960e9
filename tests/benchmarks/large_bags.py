"""Linear-cost attention: time and memory with up to 200,000 tiles, and agreement with exact attention.

    python -m tests.benchmarks.large_bags
    python -m tests.benchmarks.large_bags --run run --features features

The first command measures the image side of FiVE (vector and attention map of a slide) on random
features of 1,536 channels, on one thread, in one process per line. The second command also combines
the slides of ``features`` into bags of up to 8,192 tiles. On these it compares linear with exact
attention in the trained model ``run``: cosine similarity of the slide vectors, largest difference of
a class probability, and total variation distance between the attention maps of a prompt.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tests.benchmarks.processes import print_table, usage_of

SIZES = {"exact": (4096, 8192, 16384), "linear": (4096, 8192, 16384, 50_000, 100_000, 200_000)}
COMPARED = (2048, 4096, 8192)
BAGS = 5
CHANNELS = 1536


def encode_random_bag(attention: str, n_tiles: int) -> None:
    """Encode one random bag as `five predict` does. It runs in its own process, which is measured."""
    import numpy as np
    import torch

    from pipelines.core.settings.model import ModelSettings
    from pipelines.model.data.bags import TileBag
    from pipelines.model.networks.bag_model import ModelSpec
    from pipelines.model.networks.build import build_model

    torch.set_num_threads(1)
    settings = ModelSettings(model="five-fusion", attention=attention, tuning="frozen")
    model = build_model(settings, ModelSpec(CHANNELS, "random", "", 224, 0.5, {"growth": "growth pattern"})).eval()
    side = math.ceil(math.sqrt(n_tiles))
    corners = np.stack([np.arange(n_tiles) % side, np.arange(n_tiles) // side], axis=1)
    grid_position = torch.from_numpy(corners.astype(np.float32))
    features = torch.empty(n_tiles, CHANNELS, dtype=torch.float16).normal_()
    bag = TileBag("s", features, corners, 448, grid_position, torch.zeros(n_tiles), 1.0)
    with torch.inference_mode():
        prompts = model.encode_prompts()
        model.attend(bag, prompts)


def measure_sizes() -> None:
    """Print CPU time and peak memory of exact and linear attention by bag size."""
    usages = {"start-up and weights only (1 tile)": usage_of(_command("linear", 1))}
    for attention, sizes in SIZES.items():
        for n_tiles in sizes:
            usages[f"{attention}, {n_tiles:,} tiles"] = usage_of(_command(attention, n_tiles))
    print_table("Vector and attention map of one slide", usages, "exact, 8,192 tiles")


def _command(attention: str, n_tiles: int) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.large_bags", "--encode", attention, str(n_tiles)]


def compare(run: Path, features: Path) -> None:
    """Print the differences between linear and exact attention in a trained model."""
    import torch

    from pipelines.core.classes import load_classes
    from pipelines.model.networks.bag_attention import BagAttention
    from pipelines.model.networks.checkpoint import load_model

    model = load_model(run)
    classes = load_classes(run / "classes.yaml")
    files = sorted(features.glob("*.h5"))
    attention = next(part for part in model.modules() if isinstance(part, BagAttention))
    print(f"\nLinear compared with exact attention: the worst of {BAGS} bags of real tiles per size")
    print(f"  {'tiles':>7} {'cosine':>9} {'probability':>12} {'total variation':>20}")
    with torch.inference_mode():
        prompts, texts = model.encode_prompts(), model.encode_classes(classes)
        for n_tiles in COMPARED:
            worst = [1.0, 0.0, 0.0]
            for seed in range(BAGS):
                bag = _side_by_side(files, n_tiles, seed)
                vectors, probabilities, maps = [], [], []
                for attention.exact_up_to in (None, 0):
                    vector, weights = model.attend(bag, prompts)
                    vectors.append(vector.double())
                    probabilities.append(model.logits(vector.double(), texts.double()).softmax(dim=1))
                    maps.append(weights)
                worst[0] = min(worst[0], float(torch.cosine_similarity(*vectors)))
                worst[1] = max(worst[1], float((probabilities[0] - probabilities[1]).abs().max()))
                worst[2] = max(worst[2], float((maps[0] - maps[1]).abs().sum(dim=1).max() / 2))
            print(f"  {n_tiles:>7,} {worst[0]:>9.6f} {worst[1]:>12.5f} {worst[2]:>20.5f}", flush=True)


def _side_by_side(files, n_tiles, seed):
    """Return a bag of ``n_tiles`` from several slides placed side by side, ordered row by row as by `five tile`."""
    import numpy as np
    import torch

    from pipelines.core.feature_file import read_bag
    from pipelines.model.data.bags import TileBag

    features, positions, count = [], [], 0
    for number, index in enumerate(np.random.default_rng(seed).permutation(len(files))):
        part = read_bag(files[index])
        features.append(part.features)
        positions.append(part.coords / part.tile_size_level0 + np.array([number % 5, number // 5]) * 30)
        count += len(part.features)
        if count >= n_tiles:
            break
    if count < n_tiles:
        sys.exit(f"the slides have only {count} tiles; {n_tiles} are needed")
    rows, xy = np.concatenate(features)[:n_tiles], np.concatenate(positions)[:n_tiles]
    order = np.lexsort((xy[:, 0], xy[:, 1]))
    rows, xy = rows[order], xy[order]
    grid_position = torch.from_numpy((xy - xy.mean(axis=0)).astype(np.float32))
    file_position = torch.arange(n_tiles) / n_tiles
    return TileBag("mosaic", torch.from_numpy(rows), xy.astype(np.int64), 1, grid_position, file_position, 1.0)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run of five train --model five-fusion --regime finetune")
    parser.add_argument("--features", type=Path, help="folder of five embed that the run was trained on")
    parser.add_argument("--encode", nargs=2, metavar=("ATTENTION", "TILES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        encode_random_bag(arguments.encode[0], int(arguments.encode[1]))
        return
    measure_sizes()
    if arguments.run and arguments.features:
        compare(arguments.run, arguments.features)


if __name__ == "__main__":
    main()
