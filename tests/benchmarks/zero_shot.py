"""Speed of prediction without training: comparing tiles with texts, against one matrix product.

Per slide, CPU time of one thread, lowest of several rounds. The features are stored as float16, as `five embed` does.

* product: the bare matrix product of float32 features and texts, which is limited by reading the features;
* product of float16: the same after conversion to float32, as features are stored;
* similarities: cosine similarities of stored features and texts;
* pooling: weights of the tiles and scores of the slide, for each rule;
* stage: `five predict` with and without attention files, with reading, checksums and writing.

Example: python -m tests.benchmarks.zero_shot --tiles 10000 --texts 20
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from pipelines.core.provenance import Provenance
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.core.settings import PredictSettings
from pipelines.core.settings.zero_shot import ZeroShotPooling
from pipelines.model.networks.zero_shot.pooling import tile_weights
from pipelines.model.networks.zero_shot.similarities import cosine_similarities
from pipelines.predict import PredictInputs, predict
from tests.synthetic_features import write_bag
from tests.text_towers import WordTower

BAGS = 12
"""Different bags, so that none is in the cache of the processor when it is used again."""
POOLINGS: tuple[ZeroShotPooling, ...] = ("topk", "mean", "attention")


def main() -> None:
    """Print milliseconds per slide and the ratio to the bare product."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=20)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    stored = [torch.randn(options.tiles, options.channels, generator=generator).half() for _ in range(BAGS)]
    texts = torch.nn.functional.normalize(torch.randn(options.texts, options.channels, generator=generator), dim=1)
    full = [bag.float() for bag in stored]
    product = milliseconds(lambda bag: bag @ texts.T, full, options.rounds)
    show("product", product, product)
    show("product of float16", milliseconds(lambda bag: bag.float() @ texts.T, stored, options.rounds), product)
    similarities = milliseconds(lambda bag: cosine_similarities(bag, texts), stored, options.rounds)
    show("similarities", similarities, product)
    compared = [cosine_similarities(bag, texts).numpy() for bag in stored]
    for rule in POOLINGS:
        settings = PredictSettings(pooling=rule)
        pooling = milliseconds(lambda values, s=settings: pool(values, s), compared, options.rounds)  # type: ignore[misc]
        show(f"pooling {rule}", pooling, product)
        show(f"similarities, {rule}", similarities + pooling, product)
    for attention in (False, True):
        name = "stage with attention files" if attention else "stage"
        show(name, stage(stored, options.texts, attention=attention), product)


def pool(similarities: np.ndarray[Any, Any], settings: PredictSettings) -> Any:
    """Return the scores of a slide for all texts."""
    weights = tile_weights(similarities, similarities[:0], settings, 0.01)
    return np.einsum("kn,kn->k", weights, similarities, dtype=np.float64)


def milliseconds(work: Callable[[Any], object], items: Iterable[Any], rounds: int) -> float:
    """Return the CPU time per item, the lowest of ``rounds`` rounds."""
    items, times = list(items), []
    for _ in range(rounds):
        start = time.process_time()
        for item in items:
            work(item)
        times.append((time.process_time() - start) / len(items))
    return 1000 * min(times)


def show(name: str, value: float, product: float) -> None:
    """Print a line of the table."""
    print(f"{name:<28} {value:>8.2f} ms per slide {value / product:>7.2f} x the product", flush=True)


def stage(bags: list[Tensor], n_texts: int, *, attention: bool) -> float:
    """Return the CPU time per slide of `five predict` on ``bags``, without loading the text tower, milliseconds."""
    words = [f"w{n}" for n in range(n_texts)]
    tower = WordTower(words, dim=bags[0].shape[1])
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("pipelines.predict.load_text_tower", return_value=tower),
    ):
        root = Path(folder)
        for number, bag in enumerate(bags):
            write_bag(root / "features", f"s{number}", bag.numpy(), space=tower.space, encoder="plip")
        rows = [{"slide_id": f"s{number}", "status": "ok"} for number in range(len(bags))]
        EMBEDDED_SLIDES.write(root / "features" / "slides.parquet", rows, Provenance({}))
        (root / "classes.yaml").write_text("classes:\n" + "".join(f"  {word}: {word}\n" for word in words))
        inputs = PredictInputs(root / "features", classes=root / "classes.yaml")
        start = time.process_time()
        predict(inputs, root / "out", PredictSettings(attention=attention))
        return 1000 * (time.process_time() - start) / len(bags)


if __name__ == "__main__":
    main()
