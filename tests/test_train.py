import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.batch import Outcome, Summary
from pipelines.core.errors import ArtifactError, ChangedSettingsError, CohortError, FiveError, SettingsError
from pipelines.core.schemas import EMBEDDED_SLIDES, METRICS, PREDICTIONS, SPLITS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.core.settings.presets import PRESETS
from pipelines.model import loop
from pipelines.model.optimizer import learning_rate, updates_per_epoch
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import DIM, PROVENANCE, write_bag, write_cohort


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def cohort(tmp_path):
    """Return a small cohort that a test may spoil."""
    return write_cohort(tmp_path / "cohort", n_patients=12)


@pytest.fixture
def settings(tiny_bert):
    return TrainSettings(
        text_model=str(tiny_bert), width=64, diagnosis_prompts=2, prompt_tokens=2, epochs=3, lr=1e-3, lr_text=1e-3
    )


def pretrain_inputs(cohort, **more):
    return TrainInputs(cohort.features, cohort.table, descriptions=cohort.descriptions, **more)


def finetune_inputs(cohort, **more):
    return TrainInputs(cohort.features, cohort.table, classes=cohort.classes, **more)


def weights(run):
    return load_file(run / "model.safetensors")


def last(run, split, name):
    return [
        row["value"]
        for row in METRICS.read_rows(run / "metrics.parquet")
        if (row["split"], row["name"]) == (split, name)
    ][-1]


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
        "config.yaml", "five.json", "learning_curves.png", "metrics.parquet", "model.safetensors", "questions.yaml",
        "splits.parquet",
    }  # fmt: skip
    assert summary.counts["done"] == settings.epochs
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["data"]["feature_dim"] == DIM
    assert config["training"]["regime"] == "pretrain"


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(cohort, settings, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(pretrain_inputs(cohort), tmp_path / name, replace(settings, seed=seed))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(bool((a[name] == b[name]).all()) for name in a)
    assert not bool((a["fusion.project.weight"] == c["fusion.project.weight"]).all())


def test_a_run_that_was_killed_ends_with_the_weights_of_an_undisturbed_one(cohort, settings, tmp_path, monkeypatch):
    train(pretrain_inputs(cohort), tmp_path / "whole", settings)
    monkeypatch.setattr(loop, "STATE_SECONDS", -1.0)

    def kill(result):
        if result.item_id == "epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pretrain_inputs(cohort), tmp_path / "killed", settings, on_result=kill)
    resumed = train(pretrain_inputs(cohort), tmp_path / "killed", settings)
    assert [result.item_id for result in resumed.results] == ["epoch 3"]
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(bool((whole[name] == killed[name]).all()) for name in whole)
    assert METRICS.read_rows(tmp_path / "whole" / "metrics.parquet") == METRICS.read_rows(
        tmp_path / "killed" / "metrics.parquet"
    )


def test_a_finished_run_is_kept_and_other_settings_are_refused(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "run", settings)
    assert [r.outcome for r in train(pretrain_inputs(cohort), tmp_path / "run", settings).results] == [Outcome.KEPT]
    with pytest.raises(ChangedSettingsError, match=r"epochs 3 -> 2"):
        train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=2))


def test_training_stops_when_validation_no_longer_improves(cohort, settings, tmp_path):
    still = replace(settings, lr=0.0, lr_text=0.0, epochs=9, patience=2)
    summary = train(finetune_inputs(cohort), tmp_path / "run", replace(still, regime="finetune"))
    assert len(summary.results) == 3  # the first is the best; two more bring nothing
    assert summary.figures["best_epoch"] == 1


def test_finetuning_from_a_run_keeps_its_splits_model_and_questions(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, seed=5))
    tuned = replace(TrainSettings(), regime="finetune", epochs=1, seed=6)
    train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", tuned)
    splits = [SPLITS.read_rows(tmp_path / run / "splits.parquet") for run in ("first", "second")]
    assert splits[0] == splits[1]
    configs = [yaml.safe_load((tmp_path / run / "config.yaml").read_text()) for run in ("first", "second")]
    assert configs[0]["model"] == configs[1]["model"]
    assert (tmp_path / "second" / "questions.yaml").exists()
    assert (tmp_path / "second" / "classes.yaml").exists()


def test_fine_tuning_a_run_leaves_its_text_side_as_it_was(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    tuned = replace(TrainSettings(), regime="finetune", epochs=2)
    train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", tuned)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "second")
    still = {name for name in before if bool((before[name] == after[name]).all())}
    assert {name for name in before if name.startswith(("text.", "prompts."))} <= still
    assert "fusion.project.weight" not in still
    config = yaml.safe_load((tmp_path / "second" / "config.yaml").read_text())
    assert (config["training"]["lr"], config["training"]["lr_text"]) == (3e-5, 0.0)


def test_a_patient_of_the_first_training_cannot_be_held_out_in_the_second(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, seed=5, epochs=1))
    train(pretrain_inputs(cohort), tmp_path / "other", replace(settings, seed=6, epochs=1))
    inputs = finetune_inputs(cohort, init=tmp_path / "first", splits=tmp_path / "other" / "splits.parquet")
    with pytest.raises(CohortError, match=r"patient 'p\d\d' .* is held out here, but .* was trained with it"):
        train(inputs, tmp_path / "second", replace(settings, regime="finetune"))


def test_model_settings_that_differ_from_those_of_the_first_run_are_refused(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    changed = replace(settings, regime="finetune", width=128)
    with pytest.raises(SettingsError, match="width 64 -> 128"):
        train(finetune_inputs(cohort, init=tmp_path / "first"), tmp_path / "second", changed)


def test_shots_are_patients_per_class(cohort, settings, tmp_path):
    summary = train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune", shots=2))
    assert summary.figures["training_slides"] == 4


def test_slides_without_features_tiles_or_description_are_left_out_and_counted(cohort, settings, tmp_path):
    write_bag(cohort.features, "s00", np.zeros((0, DIM)))
    (cohort.features / "s01.h5").unlink()
    with cohort.table.open("a") as table:
        table.write("s50,p50,round\ns51,p51,round\n")
    rng = np.random.default_rng(0)
    write_bag(cohort.features, "s50", rng.normal(size=(9, DIM)))
    figures = train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, test_fraction=0.0)).figures
    assert figures["slides_without_tiles"] == 1
    assert figures["slides_without_features"] == 2
    assert figures["slides_without_description"] == 1
    assert figures["described_patients_without_slides"] == 2
    assert figures["training_slides"] + figures["validation_slides"] == 10


def test_features_of_two_encoders_are_refused(cohort, settings, tmp_path):
    write_bag(cohort.features, "s03", np.zeros((5, DIM)), encoder="other", fingerprint="9999")
    with pytest.raises(ArtifactError, match=r"s03.h5: features of other .* but 's00' has features of toy"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_features_of_two_widths_are_refused(cohort, settings, tmp_path):
    write_bag(cohort.features, "s03", np.zeros((5, DIM + 1)))
    with pytest.raises(ArtifactError, match=f"{DIM + 1} channels"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_a_cohort_without_any_features_is_refused(cohort, settings, tmp_path):
    shutil.rmtree(cohort.features)
    EMBEDDED_SLIDES.write(cohort.features / "slides.parquet", [], PROVENANCE)
    with pytest.raises(ArtifactError, match="none of the 12 slides has tile features"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_nan_features_stop_training_and_name_the_slides(cohort, settings, tmp_path):
    for number in range(12):
        write_bag(cohort.features, f"s{number:02d}", np.full((5, DIM), np.nan))
    with pytest.raises(FiveError, match=r"epoch 1: the loss is nan on a batch of the slides s\d\d"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_one_class_in_training_is_refused(cohort, settings, tmp_path):
    cohort.table.write_text(re.sub("spindle", "round", cohort.table.read_text()))
    with pytest.raises(CohortError, match=r"training slides of 1 class \(round\)"):
        train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune"))


def test_a_label_without_class_text_is_named(cohort, settings, tmp_path):
    cohort.table.write_text(cohort.table.read_text() + "s12,p12,normal\n")
    write_bag(cohort.features, "s12", np.zeros((5, DIM)))
    with pytest.raises(CohortError, match="no class text for the label 'normal'"):
        train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune", test_fraction=0.0))


@pytest.mark.parametrize(("regime", "missing"), [("pretrain", "descriptions"), ("finetune", "class texts")])
def test_a_regime_says_what_it_needs(cohort, settings, tmp_path, regime, missing):
    with pytest.raises(SettingsError, match=f"{regime}: needs {missing}"):
        train(TrainInputs(cohort.features, cohort.table), tmp_path / "run", replace(settings, regime=regime))


def test_descriptions_of_other_patients_only_are_refused(cohort, settings, tmp_path):
    cohort.table.write_text(cohort.table.read_text().replace(",p0", ",x0").replace(",p1", ",x1"))
    with pytest.raises(CohortError, match="none is of one of the"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_a_plan_counts_patients_steps_and_parameters_and_trains_nothing(cohort, settings, tmp_path):
    (tmp_path / "c.yaml").write_text(f"text_model: {settings.text_model}\nwidth: 64\nbatch_size: 2\nepochs: 5\n")
    flags = ["--cohort", str(cohort.table), "--classes", str(cohort.classes), "--config", str(tmp_path / "c.yaml")]
    flags += ["--regime", "finetune", "--test-fraction", "0.34", "--val-fraction", "0.25", "--dry-run", "--json"]
    result = CliRunner().invoke(app, ["train", str(cohort.features), "-o", str(tmp_path / "run"), *flags])
    plan = json.loads(result.stdout)
    assert plan["train"] == "6 patients (round 3, spindle 3), 6 slides"
    assert plan["test"] == "4 patients (round 2, spindle 2), 4 slides"
    assert (plan["updates_per_epoch"], plan["updates_at_most"]) == (3, 15)
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_what_the_metrics_hold(cohort, settings, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=2), tensorboard=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    found = {
        (event.step, *tag.split("/")): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)
    }
    rows = METRICS.read_rows(tmp_path / "run" / "metrics.parquet")
    assert found == pytest.approx({(row["epoch"], row["split"], row["name"]): row["value"] for row in rows})


def test_the_learning_rate_rises_and_falls_to_a_hundredth():
    rates = [learning_rate(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == rates[9] == 1.0
    assert rates[55] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)


@pytest.mark.parametrize(("slides", "batch", "accumulation", "updates"), [(16, 8, 1, 2), (17, 8, 1, 3), (33, 8, 2, 3)])
def test_left_over_batches_of_an_epoch_count(slides, batch, accumulation, updates):
    assert updates_per_epoch(slides, TrainSettings(batch_size=batch, accumulation=accumulation)) == updates


def test_flags_win_over_a_config_file_and_a_file_over_the_preset(tmp_path, monkeypatch):
    seen = {}

    def remember(inputs, output, settings, **_):
        seen["settings"] = settings
        return Summary(output, ())

    monkeypatch.setattr("pipelines.train.train", remember)
    (tmp_path / "five.yaml").write_text("epochs: 7\nlr: 0.5\n")
    flags = ["--preset", "released", "--config", str(tmp_path / "five.yaml"), "--lr", "0.25"]
    result = CliRunner().invoke(app, ["train", str(tmp_path), "-o", str(tmp_path / "run"), *flags])
    assert result.exit_code == 0, result.output
    assert seen["settings"] == replace(TrainSettings(**PRESETS["released"]), epochs=7, lr=0.25)


def test_the_released_preset_trains(cohort, settings, tmp_path):
    kept = {**PRESETS["released"], "text_model": settings.text_model, "width": 64, "prompt_tokens": 20, "epochs": 1}
    released = TrainSettings(**kept, context_length=30, padded_length=100)
    summary = train(pretrain_inputs(cohort), tmp_path / "run", released)
    assert summary.counts["done"] == 1


def test_the_split_file_of_another_tool_is_used_as_it_stands(cohort, settings, tmp_path):
    parts = {"train": ["s00", "s01", "s02", "s03", "s04", "s05"], "val": ["s06", "s07"], "test": ["s08", "s09"]}
    lines = [f"{row},{','.join((parts[part] + [''] * 6)[row] for part in parts)}" for row in range(6)]
    (tmp_path / "splits_0.csv").write_text("\n".join([",train,val,test", *lines]))
    train(
        finetune_inputs(cohort, splits=tmp_path / "splits_0.csv"),
        tmp_path / "run",
        replace(settings, regime="finetune"),
    )
    rows = SPLITS.read_rows(tmp_path / "run" / "splits.parquet")
    assert {p: [row["slide_id"] for row in rows if row["split"] == p] for p in parts} == parts


def test_a_linear_probe_learns_the_classes_and_leaves_the_network_as_it_was(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    probed = replace(TrainSettings(), regime="linear-probe")
    inputs = TrainInputs(cohort.features, cohort.table, init=tmp_path / "first")
    summary = train(inputs, tmp_path / "probe", probed)
    before, after = weights(tmp_path / "first"), weights(tmp_path / "probe")
    assert after.keys() - before.keys() == {"head.weight", "head.bias"}
    assert all(bool((after[name] == before[name]).all()) for name in before)
    assert summary.figures["train_accuracy"] == 1.0
    found = predict(
        PredictInputs(cohort.features, tmp_path / "probe", cohort=cohort.table),
        tmp_path / "predictions",
        PredictSettings(),
    )
    assert found.counts["done"] == 12
    rows = PREDICTIONS.read_rows(tmp_path / "predictions" / "predictions.parquet")
    trained = [row for row in rows if row["split"] == "train"]
    assert [row["predicted"] for row in trained] == [row["label"] for row in trained]


def test_a_linear_probe_needs_a_run_to_probe(cohort, settings, tmp_path):
    with pytest.raises(SettingsError, match="linear-probe: needs a trained model"):
        train(TrainInputs(cohort.features, cohort.table), tmp_path / "run", replace(settings, regime="linear-probe"))
