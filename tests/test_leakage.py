"""Held-out patients do not affect training, and labels and reports do not affect prediction."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.schemas import ANSWERS, PREDICTIONS
from pipelines.core.settings import PredictSettings
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import ANSWERS_OF, ASKED, DIM, QUESTIONS, Cohort, write_bag, write_cohort
from tests.training_runs import small_settings

OTHER = {"round": "spindle", "spindle": "round"}
SPLIT = ["train"] * 8 + ["val"] * 2 + ["test"] * 2


@pytest.fixture
def cohort(tmp_path):
    """Return a cohort of twelve patients with alternating classes and given splits."""
    made = write_cohort(tmp_path / "cohort", n_patients=12)
    write_table(made, swapped=())
    return made


def write_table(cohort, swapped):
    with cohort.table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with cohort.table.open("w", newline="") as stream:
        table = csv.DictWriter(stream, ["slide_id", "patient_id", "label", "split"])
        table.writeheader()
        for row, split in zip(rows, SPLIT, strict=True):
            label = OTHER[row["label"]] if split in swapped else row["label"]
            table.writerow({**row, "label": label, "split": split})


def corrupted(cohort, folder, split):
    """Return a copy of the cohort in which the labels, answers and features of one split are wrong."""
    shutil.copytree(cohort.table.parent, folder)
    copy = Cohort(folder / "features", folder / "descriptions", folder / "cohort.csv", folder / "classes.yaml")
    write_table(copy, swapped=(split,))
    numbers = {number for number, name in enumerate(SPLIT) if name == split}
    answers = ANSWERS.read_rows(copy.descriptions / "answers.parquet")
    for row in answers:
        if int(row["patient_id"][1:]) in numbers:
            label = ("spindle", "round")[int(row["patient_id"][1:]) % 2]
            row["description"] = ANSWERS_OF[label][QUESTIONS.ids.index(row["question_id"])]
    ANSWERS.write(copy.descriptions / "answers.parquet", answers, ASKED)
    for number in numbers:
        write_bag(copy.features, f"s{number:02d}", np.random.default_rng(number).normal(5, 9, (30, DIM)))
    return copy


@pytest.fixture(params=["five", "five-fusion"])
def settings(tiny_bert, request):
    return small_settings(tiny_bert, model=request.param, epochs=2)


def trained(cohort, regime, settings, run):
    if regime == "pretrain":
        inputs = TrainInputs(cohort.features, cohort.table, descriptions=cohort.descriptions)
    else:
        inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes)
    train(inputs, run, replace(settings, regime=regime))
    return load_file(run / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("regime", ["pretrain", "finetune"])
def test_labels_answers_and_features_of_test_patients_do_not_affect_the_weights(cohort, settings, tmp_path, regime):
    weights = trained(cohort, regime, settings, tmp_path / "run")
    test_corrupted = corrupted(cohort, tmp_path / "test_corrupted", "test")
    assert same(weights, trained(test_corrupted, regime, settings, tmp_path / "run_test_corrupted"))
    train_corrupted = corrupted(cohort, tmp_path / "train_corrupted", "train")
    assert not same(weights, trained(train_corrupted, regime, settings, tmp_path / "run_train_corrupted"))


def test_labels_and_reports_do_not_affect_the_predictions(cohort, settings, tmp_path):
    trained(cohort, "finetune", settings, tmp_path / "run")

    def probabilities(name):
        predict(
            PredictInputs(cohort.features, tmp_path / "run", cohort=cohort.table), tmp_path / name, PredictSettings()
        )
        rows = PREDICTIONS.read_rows(tmp_path / name / "predictions.parquet")
        return {row["slide_id"]: (row["prob_round"], row["prob_spindle"]) for row in rows}

    before = probabilities("before")
    write_table(cohort, swapped=("train", "val", "test"))
    shutil.rmtree(cohort.descriptions)
    assert probabilities("after") == before
