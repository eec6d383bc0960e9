"""FiVE on joint features: do texts, reports and labels together do at least as well as each alone?

    python -m tests.benchmarks.joint_five tiles.csv -o joint --cohorts 20 --draws 40

Slides of 100 tiles, 2 to 6 % of them tumor, are composed as in `zero_shot_quality`. Half of the source images teach
the stand-in for a joint encoder, with all or a part of them (its strength); of the other images, 60 % make the
training slides and 40 % the test slides. Reports name the class of 70 % of the training patients, 5 % of them wrongly.

* texts: prediction from the class texts, without training;
* reports: FiVE with the packaged text model, trained on the reports;
* both: FiVE with the text tower of the encoder, trained on the reports;
* labels: FiVE with the text tower, trained on k labels of the first class and up to 9 k of the second, without reports.

The table gives mean AUC over cohorts with 95 % intervals; *below* is the mean difference to the better of texts and
reports. For labels it is the share of the draws that end 0.01 or more below the texts.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sklearn.metrics import roc_auc_score

from pipelines.core.classes import write_classes
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.questions import AllowedAnswer, Question, QuestionSet
from pipelines.core.schemas import ANSWERS, EMBEDDED_SLIDES, PREDICTIONS
from pipelines.core.settings import EmbedSettings, PredictSettings, TrainSettings
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.benchmarks.composed.bags import write_bag
from tests.benchmarks.composed.tiles import NORMAL, TUMORS, Tiles, read_tiles
from tests.benchmarks.composed.wordings import N_TRAINING, WORDINGS
from tests.benchmarks.zero_shot_quality import TEXTS, mean, standin

N_TILES, TUMOR = 100, (0.02, 0.06)
N_TRAIN, N_TEST = 60, 100
KNOWN, WRONG = 0.7, 0.05
SHOTS = (1, 2, 4, 8, 16)
QUESTION = QuestionSet(
    name="type",
    title="Type of the tumor",
    questions=(
        Question(
            id="type",
            question="Which type?",
            prompt="histologic type",
            kind="choice",
            values={
                kind: AllowedAnswer(meaning=texts[0], phrase=texts[0], wordings=texts[1:N_TRAINING])
                for kind, texts in zip(TUMORS, WORDINGS["type"], strict=True)
            },
        ),
    ),
)


@dataclass(frozen=True)
class Cohort:
    """Files of training and test slides in one folder."""

    folder: Path
    encoder: Path
    labels: Mapping[str, str]
    """Slide -> class."""

    def auc(self, run: Path | None, name: str) -> float:
        """Return the AUC on the test slides, with a trained run or from the class texts alone."""
        folder = self.folder
        inputs = PredictInputs(folder / "features", run, classes=folder / "classes.yaml")
        predict(inputs, folder / name, PredictSettings(attention=False))
        rows = PREDICTIONS.read_rows(folder / name / "predictions.parquet")
        tested = [row for row in rows if row["slide_id"].startswith("test")]
        margins = [row[f"logit_{TUMORS[1]}"] - row[f"logit_{TUMORS[0]}"] for row in tested]
        return float(roc_auc_score([self.labels[row["slide_id"]] == TUMORS[1] for row in tested], margins))

    def trained(self, name: str, settings: TrainSettings, table: Path) -> Path:
        """Train on reports, or on the labels of ``table``, and return the run."""
        folder, pretrains = self.folder, settings.regime == "pretrain"
        texts: dict[str, Any] = (
            {"descriptions": folder / "descriptions"} if pretrains else {"classes": folder / "classes.yaml"}
        )
        train(TrainInputs(folder / "features", table, **texts), folder / name, settings)
        return folder / name

    def table(self, name: str, slides: Sequence[str]) -> Path:
        """Write a cohort table in which ``slides`` are training slides."""
        path = self.folder / f"{name}.csv"
        with path.open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(("slide_id", "patient_id", "label", "split"))
            table.writerows((slide, slide, self.labels[slide], "train") for slide in slides)
        return path


def write_cohort(folder: Path, tiles: Tiles, encoder: Path, shown: NDArray[Any], rng: np.random.Generator) -> Cohort:
    """Compose slides from the source images ``shown``, and write features and reports."""
    numbers = load_file(encoder.with_suffix(".safetensors"))
    joint = (tiles.features.astype(np.float32) - numbers["image_mean"]) @ numbers["map"]
    space = load_text_tower(find_preset(str(encoder))).space
    sources = {kind: [s for s in shown if s in set(tiles.sources[tiles.kinds == kind])] for kind in (*TUMORS, NORMAL)}
    made = Provenance({"encoder": str(encoder)})  # as `five embed` records it
    labels, rows = {}, []
    for part, number, share in (("train", N_TRAIN, slice(0, 0.6)), ("test", N_TEST, slice(0.6, 1))):
        used = {k: its[round(share.start * len(its)) : round(share.stop * len(its))] for k, its in sources.items()}
        for index in range(number):
            slide, kind = f"{part}{index:03d}", TUMORS[index % 2]
            tumor = np.flatnonzero(tiles.sources == rng.choice(used[kind]))
            normal = np.flatnonzero(np.isin(tiles.sources, used[NORMAL]))
            n_tumor = max(1, round(N_TILES * rng.uniform(*TUMOR)))
            chosen = np.concatenate([rng.choice(tumor, n_tumor), rng.choice(normal, N_TILES - n_tumor)])
            write_bag(folder / "features", slide, joint[chosen], space=space, provenance=made)
            labels[slide] = kind
            same = {"status": "ok", "encoder": "composed", "n_tiles": N_TILES, "dim": joint.shape[1]}
            rows.append({"slide_id": slide, "patient_id": slide, **same})
    EMBEDDED_SLIDES.write(folder / "features" / "slides.parquet", rows, made)
    write_classes(TEXTS, folder / "classes.yaml")
    _describe(folder / "descriptions", labels, rng)
    return Cohort(folder, encoder, labels)


def _describe(folder: Path, labels: Mapping[str, str], rng: np.random.Generator) -> None:
    rows = []
    for slide, kind in labels.items():
        if slide.startswith("train"):
            said = TUMORS[1 - TUMORS.index(kind)] if rng.random() < WRONG else kind
            known = rng.random() < KNOWN
            phrase = QUESTION.questions[0].values[said].phrase if known else "Unknown"
            rows.append(
                {"report_id": slide, "patient_id": slide, "question_id": "type", "description": phrase}
                | {"status": "value" if known else "unknown"}
            )
    ANSWERS.write(folder / "answers.parquet", rows, Provenance({"question_set": QUESTION.fingerprint}))
    write_questions(QUESTION, folder / "questions.yaml")


def measured(cohort: Cohort, rng: np.random.Generator, draws: int) -> dict[str, float]:
    """Return the AUC of each way to predict, and the differences of the draws of labels to the texts."""
    everybody = [slide for slide in cohort.labels if slide.startswith("train")]
    table = cohort.table("all", everybody)
    reports = TrainSettings(tuning="frozen", val_fraction=0)
    found = {
        "texts": cohort.auc(None, "texts"),
        "reports": cohort.auc(cohort.trained("of-reports", reports, table), "reports"),
    }
    both = TrainSettings(text_model="encoder", val_fraction=0)
    found["both"] = cohort.auc(cohort.trained("of-both", both, table), "both")
    labeled = TrainSettings(regime="finetune", text_model="encoder", val_fraction=0)
    for draw in range(draws):
        shots = SHOTS[draw % len(SHOTS)]
        counts = (shots, min(int(shots * rng.integers(1, 10)), N_TRAIN // 2))
        chosen = [
            str(slide)
            for kind, count in zip(TUMORS, counts, strict=True)
            for slide in rng.permutation([s for s in everybody if cohort.labels[s] == kind])[:count]
        ]
        run = cohort.trained(f"labels-{draw}", labeled, cohort.table(f"labels-{draw}", chosen))
        found[f"labels {shots} {draw}"] = cohort.auc(run, f"by-labels-{draw}")
    return found


def main() -> None:
    """Print a row for each strength of the stand-in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cohorts", type=int, default=20)
    parser.add_argument("--draws", type=int, default=10, help="draws of labels per cohort")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.05, 0.2, 1.0], help="share of captioned images"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    encoder = EmbedSettings().encoder
    tiles = read_tiles(options.tiles, options.output / f"{encoder}.npz", encoder=encoder)
    for strength in options.strengths:
        found = [_one(tiles, options.output, strength, seed, options.draws) for seed in range(options.cohorts)]
        _show(strength, found)


def _one(tiles: Tiles, output: Path, strength: float, seed: int, draws: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, 5])
    taught, shown = np.zeros(len(tiles.kinds), bool), []
    for kind in (*TUMORS, NORMAL):
        sources = rng.permutation(np.unique(tiles.sources[tiles.kinds == kind]))
        half = len(sources) // 2
        taught |= np.isin(tiles.sources, sources[: max(2, round(strength * half))])
        shown += sources[half:].tolist()
    path = standin(tiles, np.flatnonzero(taught), output / f"standin-{strength}-{seed}", rng)
    with TemporaryDirectory() as folder:
        return measured(write_cohort(Path(folder), tiles, path, np.array(shown), rng), rng, draws)


def _show(strength: float, found: list[dict[str, float]]) -> None:
    columns = {name: np.array([each[name] for each in found]) for name in ("texts", "reports", "both")}
    below = columns["both"] - np.maximum(columns["texts"], columns["reports"])
    print(f"{strength:.0%}", *(f"{name} {mean(values)}" for name, values in columns.items()), f"below {mean(below)}")
    for shots in SHOTS:
        differences = np.array(
            [auc - each["texts"] for each in found for name, auc in each.items() if name.startswith(f"labels {shots} ")]
        )
        if len(differences):
            share = (differences <= -0.01).mean()
            print(f"    {shots} labels: {differences.mean():+.3f} on average, {share:.0%} of {len(differences)} below")
    print(flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
