from dataclasses import replace

import pytest
import torch
import yaml

from pipelines.core.batch import Outcome
from pipelines.core.errors import ArtifactError, ChangedSettingsError, CohortError, SettingsError
from pipelines.core.schemas import METRICS, PREDICTIONS, SPLITS
from pipelines.core.selection import Selection
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.model.networks.checkpoint import read_config
from pipelines.model.training import loop
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import DIM, PROVENANCE, write_cohort
from tests.training_runs import finetune_inputs, last, pretrain_inputs, weights

TUNED = replace(TrainSettings(), regime="finetune")
BOTH = ("five", "five-fusion")
FITTED = {"five": "maps", "five-fusion": "fusion.project.weight"}
"""Model -> a weight that is fitted."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.mark.slow
def test_descriptions_are_retrieved_after_pretraining(shared, settings, tmp_path):
    train(pretrain_inputs(shared), tmp_path / "run", replace(settings, epochs=30))
    assert last(tmp_path / "run", "val", "retrieval") == 1.0


@pytest.mark.slow
def test_finetuning_learns_the_classes_with_both_ways_of_tuning(shared, settings, tmp_path):
    for tuning in ("lora", "frozen"):
        run = tmp_path / tuning
        train(finetune_inputs(shared), run, replace(settings, regime="finetune", epochs=20, tuning=tuning))
        assert last(run, "val", "accuracy") == 1.0


def test_a_run_holds_everything_that_prediction_needs(cohort, settings, tmp_path):
    run = tmp_path / "run"
    summary = train(pretrain_inputs(cohort), run, settings)
    assert {path.name for path in run.iterdir() if path.is_file()} == {
        "config.yaml", "five.json", "learning_curves.png", "manifest.json", "metrics.parquet", "model.safetensors",
        "questions.yaml", "splits.parquet",
    }  # fmt: skip
    assert summary.counts["done"] == settings.epochs
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["feature_dim"] == DIM
    assert config["training"]["regime"] == "pretrain"


@pytest.mark.parametrize("model", BOTH)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(cohort, settings, tmp_path, model):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(pretrain_inputs(cohort), tmp_path / name, replace(settings, seed=seed, model=model))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(bool((a[name] == b[name]).all()) for name in a)
    assert not torch.equal(a[FITTED[model]], c[FITTED[model]])


def test_an_interrupted_run_ends_with_the_same_model_as_an_uninterrupted_one(cohort, settings, tmp_path, monkeypatch):
    train(pretrain_inputs(cohort), tmp_path / "whole", settings)
    monkeypatch.setattr(loop, "STATE_SECONDS", -1.0)

    def kill(result):
        if result.item_id == "epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pretrain_inputs(cohort), tmp_path / "killed", settings, on_result=kill)
    resumed = train(pretrain_inputs(cohort), tmp_path / "killed", settings)
    assert [result.item_id for result in resumed.results] == ["epoch 3"]
    assert not (tmp_path / "killed" / "checkpoints").exists()
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(bool((whole[name] == killed[name]).all()) for name in whole)
    assert read_config(tmp_path / "whole") == read_config(tmp_path / "killed")
    assert METRICS.read_rows(tmp_path / "whole" / "metrics.parquet") == METRICS.read_rows(
        tmp_path / "killed" / "metrics.parquet"
    )


@pytest.mark.parametrize("model", BOTH)
def test_a_finished_run_is_kept_and_other_settings_are_refused(cohort, settings, tmp_path, model):
    settings = replace(settings, model=model)
    train(pretrain_inputs(cohort), tmp_path / "run", settings)
    assert [r.outcome for r in train(pretrain_inputs(cohort), tmp_path / "run", settings).results] == [Outcome.KEPT]
    with pytest.raises(ChangedSettingsError, match=r"epochs 3 -> 2"):
        train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=2))


@pytest.mark.parametrize("model", BOTH)
def test_overwriting_a_run_never_mixes_its_old_model_with_its_new_splits(cohort, settings, tmp_path, model):
    settings = replace(settings, model=model)
    run = tmp_path / "run"
    train(finetune_inputs(cohort), run, replace(settings, regime="finetune", epochs=1))
    (run / "tensorboard").mkdir()

    def kill(result):
        raise KeyboardInterrupt

    other = replace(settings, seed=1)
    with pytest.raises(KeyboardInterrupt):
        train(pretrain_inputs(cohort), run, other, selection=Selection(overwrite=True), on_result=kill)
    with pytest.raises(ArtifactError, match="no such file"):
        predict(PredictInputs(cohort.features, run, classes=cohort.classes), tmp_path / "out", PredictSettings())
    train(pretrain_inputs(cohort), run, other)
    assert not (run / "classes.yaml").exists()
    assert not (run / "tensorboard").exists()


def test_training_stops_when_validation_no_longer_improves(cohort, settings, tmp_path):
    frozen = replace(settings, lr=0.0, lr_text=0.0, epochs=9, patience=2)
    summary = train(finetune_inputs(cohort), tmp_path / "run", replace(frozen, regime="finetune"))
    assert len(summary.results) == 3  # the first is the best; two more do not improve
    assert summary.facts["best_epoch"] == 1


@pytest.mark.parametrize("model", BOTH)
def test_finetuning_from_a_run_keeps_its_splits_model_and_questions(cohort, settings, tmp_path, model):
    settings = replace(settings, model=model)
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, seed=5))
    tuned = replace(TrainSettings(), regime="finetune", epochs=1, seed=6)
    train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", tuned)
    splits = [SPLITS.read_rows(tmp_path / run / "splits.parquet") for run in ("first", "second")]
    assert splits[0] == splits[1]
    configs = [yaml.safe_load((tmp_path / run / "config.yaml").read_text()) for run in ("first", "second")]
    assert configs[0]["model"] == configs[1]["model"]
    assert (tmp_path / "second" / "questions.yaml").exists()
    assert (tmp_path / "second" / "classes.yaml").exists()


def test_fine_tuning_does_not_change_the_text_side(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    tuned = replace(TrainSettings(), regime="finetune", epochs=2)
    train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", tuned)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    unchanged = {name for name in before if bool((before[name] == after[name]).all())}
    text_side = {name for name in before if name.startswith(("text.", "prompts."))}
    assert text_side
    assert text_side <= unchanged
    assert "fusion.project.weight" not in unchanged
    config = yaml.safe_load((tmp_path / "second" / "config.yaml").read_text())
    assert (config["training"]["lr"], config["training"]["lr_text"]) == (3e-4, 0.0)


@pytest.mark.parametrize("model", BOTH)
def test_a_patient_of_the_first_training_cannot_be_held_out_in_the_second(cohort, settings, tmp_path, model):
    settings = replace(settings, model=model)
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, seed=5, epochs=1))
    train(pretrain_inputs(cohort), tmp_path / "other", replace(settings, seed=6, epochs=1))
    inputs = finetune_inputs(cohort, init=tmp_path / "first", splits=tmp_path / "other" / "splits.parquet")
    with pytest.raises(CohortError, match=r"\d+ test patients, for example 'p\d\d', were used to train"):
        train(inputs, tmp_path / "second", replace(settings, regime="finetune"))


def test_model_settings_that_differ_from_those_of_the_first_run_are_refused(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    changed = replace(settings, regime="finetune", width=128)
    with pytest.raises(SettingsError, match="width 64 -> 128"):
        train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", changed)


def test_a_linear_probe_learns_the_classes_and_does_not_change_the_network(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    probed = replace(TrainSettings(), regime="linear-probe")
    inputs = TrainInputs(cohort.features, cohort.table, init=tmp_path / "first")
    summary = train(inputs, tmp_path / "probe", probed)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "probe")
    assert after.keys() == {*before, "head.weight", "head.bias"}
    assert all(bool((after[name] == value).all()) for name, value in before.items())
    assert summary.facts["train_accuracy"] == 1.0
    predicted = predict(
        PredictInputs(cohort.features, tmp_path / "probe", cohort=cohort.table),
        tmp_path / "predictions",
        PredictSettings(),
    )
    assert predicted.counts["done"] == 12
    rows = PREDICTIONS.read_rows(tmp_path / "predictions" / "predictions.parquet")
    trained = [row for row in rows if row["split"] == "train"]
    assert [row["predicted"] for row in trained] == [row["label"] for row in trained]


def test_a_run_of_five_cannot_be_probed(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, model="five"))
    inputs = TrainInputs(cohort.features, cohort.table, init=tmp_path / "first")
    with pytest.raises(SettingsError, match="first: model five cannot be probed, only five-fusion can") as caught:
        train(inputs, tmp_path / "probe", replace(TrainSettings(), regime="linear-probe"))
    assert "--model five-fusion" in caught.value.hint


def test_five_learns_from_training_and_validation_patients_alike(cohort, settings, tmp_path):
    """A run whose validation patients are training patients has the same weights."""
    five = replace(settings, model="five", feature_scaling="none")
    train(pretrain_inputs(cohort), tmp_path / "texts", five)
    train(finetune_inputs(cohort, init=tmp_path / "texts"), tmp_path / "labels", TUNED)
    rows = SPLITS.read_rows(tmp_path / "texts" / "splits.parquet")
    merged = [{**row, "split": "train" if row["split"] == "val" else row["split"]} for row in rows]
    SPLITS.write(tmp_path / "merged.parquet", merged, PROVENANCE)
    given = {"splits": tmp_path / "merged.parquet"}
    train(replace(pretrain_inputs(cohort), **given), tmp_path / "texts_alone", replace(five, val_fraction=0.0))
    inputs = finetune_inputs(cohort, init=tmp_path / "texts_alone")
    train(replace(inputs, **given), tmp_path / "labels_alone", replace(TUNED, val_fraction=0.0))
    for run, names in (("texts", ["mixture", "maps", "spread"]), ("labels", ["mixture", "weights", "biases"])):
        fitted, expected = weights(tmp_path / run), weights(tmp_path / f"{run}_alone")
        for name in names:
            torch.testing.assert_close(fitted[name], expected[name], atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("model", BOTH)
def test_a_fine_tuned_run_can_be_fine_tuned_to_other_classes(cohort, settings, tmp_path, model):
    settings = replace(settings, model=model)
    tuned = replace(settings, regime="finetune", epochs=1)
    train(finetune_inputs(cohort), tmp_path / "first", tuned)
    cohort.table.write_text(cohort.table.read_text().replace("round", "ring"))
    classes = tmp_path / "classes.yaml"
    classes.write_text("classes: {ring: [rings], spindle: [spindle cells]}")
    inputs = replace(finetune_inputs(cohort, init=tmp_path / "first"), classes=classes)
    train(inputs, tmp_path / "second", replace(TrainSettings(), regime="finetune", epochs=1))
    config = yaml.safe_load((tmp_path / "second" / "config.yaml").read_text())
    assert config["data"]["labels"] == (["ring", "spindle"] if model == "five" else [])
