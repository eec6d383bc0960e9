"""Test whether a model sees what descriptions say.

    python -m tests.benchmarks.composed tiles.csv -o composed --bags 100 800 --models five five-fusion

Bags of tiles are composed with known findings, and described. Training and test share no photograph; 30 % of
the answers are unknown; two of the eight questions have nothing to do with the tissue. The table gives, on test bags:

* answers: AUC of the difference between the two answers, in the training wordings;
* other words: the same in wordings that training has not seen, mean over all pairs;
* places: AUC of a question's attention for the tiles that show its finding;
* class: AUC of the tumor type from class texts, without a label;
* combination: AUC of a class that is described by two findings together, against their other combinations;
* retrieval: share of other bags' descriptions that score below the own one;
* same map: mean rank correlation between the maps of questions on different tiles.

The row ``ceiling`` is what the features allow (`ceilings.py`). Kinds of descriptions (`kinds.py`): ``true``;
``shuffled`` are those of other bags; ``class only`` gives the tumor type and nothing else; ``nonsense`` has invented
words for the answers; in ``new combination``, training has no bag of the class of *combination*; the bags of
``disturbed`` have two stains, fat and pen marks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from pipelines.core.settings import EmbedSettings, TrainSettings
from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import load_model
from pipelines.model.networks.slide_vectors import slide_vectors
from pipelines.train import TrainInputs, train
from tests.benchmarks.composed.bags import (
    Bags,
    compose,
    halves,
    has_combination,
    shows,
    visible,
    write_bag,
    write_cohort,
)
from tests.benchmarks.composed.ceilings import ceilings
from tests.benchmarks.composed.disturbed import disturb, disturbed_tiles
from tests.benchmarks.composed.kinds import HELD_OUT, KINDS, Kind
from tests.benchmarks.composed.tiles import Tiles, read_tiles
from tests.benchmarks.composed.wordings import CLASS_TEXTS, COMBINATION_TEXTS, N_TRAINING, VISIBLE, WORDINGS

N_TEST = 300
MEASURES = ("answers", "other words", "places", "class", "combination", "retrieval", "same map")


def main() -> None:
    """Run the benchmark and print one row per model, number of bags and kind of description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--encoder", default=EmbedSettings().encoder)
    parser.add_argument("--bags", type=int, nargs="+", default=[100, 800])
    parser.add_argument("--models", nargs="+", default=["five"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--without-ceilings", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", nargs="*", default=[], dest="settings", help="name=value settings of the training")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tiles = read_tiles(options.tiles, options.output / f"{options.encoder}.npz", encoder=options.encoder)
    cohorts = {False: tiles}
    if any(Kind(name).is_disturbed for name in options.kinds):
        cache = options.output / f"{options.encoder}-disturbed.npy"
        cohorts[True] = disturbed_tiles(tiles, options.tiles, cache, encoder=options.encoder)
    settings = {name: int(value) for name, _, value in (each.partition("=") for each in options.settings)}
    print("bags model descriptions", *MEASURES, sep=" | ")
    for n in options.bags:
        if not options.without_ceilings:
            show(f"{n} | - | ceiling", [_ceilings(tiles, n, seed) for seed in range(options.seeds)])
        for model, kind in product(options.models, map(Kind, options.kinds)):
            runs = [
                run(cohorts[kind.is_disturbed], len(tiles.kinds), n, model, kind, seed, settings)
                for seed in range(options.seeds)
            ]
            show(f"{n} | {model} | {kind.name}", runs)


def show(title: str, runs: list[dict[str, float]]) -> None:
    """Print mean and standard deviation of each measure over ``runs``, and the means of each question."""
    values = ([run[name] for run in runs] if name in runs[0] else [] for name in MEASURES)
    print(title, *(f"{np.mean(each):.3f} +- {np.std(each):.3f}" if each else "" for each in values), sep=" | ")
    for question in VISIBLE:
        names = [name for name in (f"{measure} {question}" for measure in MEASURES[:3]) if name in runs[0]]
        print("   ", question, *(f"{np.mean([run[name] for run in runs]):.3f}" for name in names), flush=True)


def _ceilings(tiles: Tiles, n: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, n])
    training, testing = halves(tiles, rng)
    found = ceilings(tiles, compose(training, n, rng), compose(testing, N_TEST, rng), rng)
    return {"answers": float(np.mean(list(found.values())))} | {f"answers {name}": auc for name, auc in found.items()}


def run(
    tiles: Tiles, n_tiles: int, n: int, model: str, kind: Kind, seed: int, settings: Mapping[str, int]
) -> dict[str, float]:
    """Train on ``n`` composed bags and return the measures on test bags; ``n_tiles`` tiles are in the first stain."""
    rng = np.random.default_rng([seed, n])
    training, testing = halves(tiles, rng)
    bags, test = compose(training, n, rng, without=kind.without), compose(testing, N_TEST, rng)
    if kind.is_disturbed:
        bags, test = disturb(bags, n_tiles, rng), disturb(test, n_tiles, rng)
    known, answers = kind.known(bags.answers, rng), kind.described(bags.answers, rng)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_cohort(folder, tiles, bags, kind.questions(rng), known=known, answers=answers)
        train(
            TrainInputs(folder / "features", folder / "cohort.csv", descriptions=folder / "descriptions"),
            folder / "run",
            TrainSettings(model=model, tuning="frozen", seed=seed, **settings),  # type: ignore[arg-type]
        )
        trained = load_model(folder / "run")
        for number, rows in enumerate(test.rows):
            write_bag(folder / "test", f"t{number}", tiles.features[rows])
        files = [BagFile(f"t{i}", folder / "test" / f"t{i}.h5", test.rows.shape[1]) for i in range(N_TEST)]
        with torch.inference_mode():
            return measured(trained, files, test)


def measured(model: BagModel, files: list[BagFile], test: Bags) -> dict[str, float]:
    """Return the measures, over all visible questions and for each."""
    reader = BagReader()
    vectors = slide_vectors(model, files, reader, 8192)
    prompts = model.encode_prompts()
    maps = np.stack([model.attend(reader.evaluation(each, 8192), prompts)[1].numpy() for each in files])
    result: dict[str, float] = {}
    margins = np.zeros((len(files), len(WORDINGS)))
    for place in visible():
        question, (first, second) = list(WORDINGS.items())[place]
        truth = test.answers[:, place] == 0
        margins[:, place] = _margin(model, vectors, first[:N_TRAINING], second[:N_TRAINING])
        result[f"answers {question}"] = float(roc_auc_score(truth, margins[:, place]))
        pairs = product(first[N_TRAINING:], second[N_TRAINING:])
        others = [roc_auc_score(truth, _margin(model, vectors, (a,), (b,))) for a, b in pairs]
        result[f"other words {question}"] = float(np.mean(others))
        result[f"places {question}"] = _places(maps[:, place], test, question, truth)
    for measure in MEASURES[:3]:
        result[measure] = float(np.mean([result[f"{measure} {question}"] for question in VISIBLE]))
    texts = list(CLASS_TEXTS.values())
    result["class"] = float(roc_auc_score(test.answers[:, 0] == 0, _margin(model, vectors, *texts)))
    result["combination"] = _combination(model, vectors, test)
    result["retrieval"] = _retrieval(margins, test)
    result["same map"] = _correlation(maps, test)
    return result


def _margin(
    model: BagModel, vectors: torch.Tensor, first: tuple[str, ...], second: tuple[str, ...]
) -> NDArray[np.float64]:
    """Return by how much each slide prefers the first texts to the second."""
    logits = model.logits(vectors, model.encode_classes({"first": first, "second": second}))
    return np.asarray((logits[:, 0] - logits[:, 1]).double().numpy())


def _combination(model: BagModel, vectors: torch.Tensor, test: Bags) -> float:
    """Return the AUC of the combination `HELD_OUT`, described in one text, against the other combinations."""
    names = {str(answers): [text] for answers, text in COMBINATION_TEXTS.items()}
    logits = model.logits(vectors, model.encode_classes(names))
    own = list(names).index(str(HELD_OUT))
    scores = logits.log_softmax(dim=1)[:, own].double().numpy()
    return float(roc_auc_score(has_combination(test.answers, HELD_OUT), scores))


def _places(maps: NDArray[np.float32], test: Bags, question: str, present: NDArray[np.bool_]) -> float:
    scores = []
    for bag, attention in enumerate(maps):
        tiles = shows(test, bag, question)
        if tiles.any() and (present[bag] or question not in ("extent", "inflammation")):
            scores.append(roc_auc_score(tiles, attention))
    return float(np.mean(scores))


def _retrieval(margins: NDArray[np.float64], test: Bags) -> float:
    signs = 1 - 2 * test.answers
    scores = margins @ (signs * (np.arange(len(WORDINGS)) < len(VISIBLE))).T  # slides against descriptions
    own = np.diag(scores)[:, None]
    wins = (own > scores).sum(axis=1) + ((own == scores).sum(axis=1) - 1) / 2
    return float(np.mean(wins / (len(scores) - 1)))


def _correlation(maps: NDArray[np.float32], test: Bags) -> float:
    """Return the mean rank correlation of the maps of tumor type and of air spaces, which are on different tiles."""
    first, second = (list(WORDINGS).index(name) for name in ("type", "air_spaces"))
    return float(np.nan_to_num([spearmanr(bag[first], bag[second]).statistic for bag in maps[::3]]).mean())


if __name__ == "__main__":
    main()
