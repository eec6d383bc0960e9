import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.batch import Summary
from pipelines.core.errors import SettingsError
from pipelines.core.resources import Resources
from pipelines.core.schemas import METRICS, SPLITS
from pipelines.core.settings import TrainSettings
from pipelines.core.settings.train_presets import TRAIN_PRESETS
from pipelines.model.training.optimizer import learning_rate, updates_per_epoch
from pipelines.train import train
from tests.training_runs import finetune_inputs, pretrain_inputs, weights


def test_shots_are_patients_per_class(cohort, settings, tmp_path):
    summary = train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune", shots=2))
    assert summary.facts["training_slides"] == 4


@pytest.mark.parametrize("few", [{"shots": 2}, {"percent": 50.0}])
@pytest.mark.parametrize("model", ["five", "five-fusion", "mean"])
def test_few_labels_leave_the_validation_slides_unused_and_the_table_says_so(cohort, settings, tmp_path, few, model):
    wanted = replace(settings, regime="finetune", model=model, **few)
    facts = train(finetune_inputs(cohort), tmp_path / "run", wanted).facts
    assert facts["validation_slides"] == 0
    assert facts["validation_slides_unused_because_of_shots_or_percent"] == 1
    assert {row["split"] for row in METRICS.read_rows(tmp_path / "run" / "metrics.parquet")} == {"train"}
    rows = SPLITS.read_rows(tmp_path / "run" / "splits.parquet")
    learned = [row["split"] for row in rows if row["learned_from"]]
    assert learned == ["train"] * facts["training_slides"]


@pytest.mark.parametrize(("model", "learned"), [("five", {"train", "val"}), ("five-fusion", {"train"})])
def test_the_table_of_splits_says_which_patients_weights_were_fitted_to(cohort, settings, tmp_path, model, learned):
    train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=1, model=model))
    rows = SPLITS.read_rows(tmp_path / "run" / "splits.parquet")
    assert {row["split"] for row in rows if row["learned_from"]} == learned
    assert {row["split"] for row in rows if not row["learned_from"]} == {"train", "val", "test"} - learned


def test_a_dry_run_counts_patients_steps_and_parameters_without_training(cohort, settings, tmp_path):
    (tmp_path / "c.yaml").write_text(
        f"text_model: {settings.text_model}\nmodel: five-fusion\nwidth: 64\nbatch_size: 2\nepochs: 5\n"
    )
    flags = ["--cohort", str(cohort.table), "--classes", str(cohort.classes), "--config", str(tmp_path / "c.yaml")]
    flags += ["--regime", "finetune", "--test-fraction", "0.34", "--val-fraction", "0.25", "--dry-run", "--json"]
    result = CliRunner().invoke(app, ["train", str(cohort.features), "-o", str(tmp_path / "run"), *flags])
    plan = json.loads(result.stdout)
    assert plan["train"] == "6 patients (round 3, spindle 3), 6 slides"
    assert plan["test"] == "4 patients (round 2, spindle 2), 4 slides"
    assert (plan["updates_per_epoch"], plan["updates_at_most"]) == (3, 15)
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_the_recorded_metrics(cohort, settings, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=2), tensorboard=True)
    events = event_accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = {
        (event.step, *tag.split("/")): event.value for tag in events.Tags()["scalars"] for event in events.Scalars(tag)
    }
    rows = METRICS.read_rows(tmp_path / "run" / "metrics.parquet")
    assert logged == pytest.approx({(row["epoch"], row["split"], row["name"]): row["value"] for row in rows})


def test_the_learning_rate_rises_and_falls_to_one_percent():
    rates = [learning_rate(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == rates[9] == 1.0
    assert rates[55] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)


@pytest.mark.parametrize(("slides", "batch", "accumulation", "updates"), [(16, 8, 1, 2), (17, 8, 1, 3), (33, 8, 2, 3)])
def test_an_incomplete_batch_at_the_end_of_an_epoch_is_an_update(slides, batch, accumulation, updates):
    assert updates_per_epoch(slides, TrainSettings(batch_size=batch, accumulation=accumulation)) == updates


def test_flags_override_the_config_file_and_the_file_overrides_the_preset(tmp_path, monkeypatch):
    seen = {}

    def remember(inputs, output, settings, **_):
        seen["settings"] = settings
        return Summary(output, ())

    monkeypatch.setattr("pipelines.train.train", remember)
    (tmp_path / "five.yaml").write_text("epochs: 7\nlr: 0.5\n")
    flags = ["--preset", "released", "--config", str(tmp_path / "five.yaml"), "--lr", "0.25"]
    result = CliRunner().invoke(app, ["train", str(tmp_path), "-o", str(tmp_path / "run"), *flags])
    assert result.exit_code == 0, result.output
    assert seen["settings"] == replace(TrainSettings(**TRAIN_PRESETS["released"]), epochs=7, lr=0.25)


def test_the_released_preset_trains(cohort, settings, tmp_path):
    kept = {
        **TRAIN_PRESETS["released"],
        "text_model": settings.text_model,
        "width": 64,
        "prompt_tokens": 20,
        "epochs": 1,
    }
    released = TrainSettings(**kept, context_length=30, padded_length=100)
    summary = train(pretrain_inputs(cohort), tmp_path / "run", released)
    assert summary.counts["done"] == 1


def test_a_percentage_of_the_patients_per_class_is_drawn_but_at_least_one(cohort, settings, tmp_path):
    tuned = replace(settings, regime="finetune", test_fraction=0.0, val_fraction=0.0, epochs=1)
    for percent, slides in ((50.0, 6), (1.0, 2)):
        run = tmp_path / f"run{percent}"
        assert train(finetune_inputs(cohort), run, replace(tuned, percent=percent)).facts["training_slides"] == slides


def test_the_percentage_of_time_spent_waiting_for_data_is_reported(cohort, settings, tmp_path):
    facts = train(pretrain_inputs(cohort), tmp_path / "run", settings).facts
    assert 0 <= facts["percent_of_the_time_spent_waiting_for_data"] <= 100


@pytest.mark.parametrize("balance", ["weights", "sampling"])
def test_training_with_balanced_classes_runs(cohort, settings, tmp_path, balance):
    tuned = replace(settings, regime="finetune", balance=balance, epochs=1)
    assert train(finetune_inputs(cohort), tmp_path / "run", tuned).counts["done"] == 1


def test_five_takes_class_weights_but_refuses_to_sample(cohort, settings, tmp_path):
    tuned = replace(settings, model="five", regime="finetune")
    with pytest.raises(SettingsError, match="balance: five is not trained in steps") as caught:
        train(finetune_inputs(cohort), tmp_path / "run", replace(tuned, balance="sampling"))
    assert "--balance weights" in caught.value.hint
    assert train(finetune_inputs(cohort), tmp_path / "run", replace(tuned, balance="weights")).counts["done"] == 1


def test_recomputed_activations_give_the_same_weights(cohort, settings, tmp_path):
    for name, twice in (("once", False), ("twice", True)):
        train(pretrain_inputs(cohort), tmp_path / name, replace(settings, checkpoint_activations=twice))
    once, twice = weights(tmp_path / "once"), weights(tmp_path / "twice")
    assert all(np.allclose(once[name], twice[name], atol=1e-4) for name in once)


def test_half_precision_needs_a_gpu(cohort, settings, tmp_path):
    with pytest.raises(SettingsError, match="precision: fp16 is not supported on cpu"):
        train(
            pretrain_inputs(cohort),
            tmp_path / "run",
            replace(settings, precision="fp16"),
            resources=Resources(device="cpu"),
        )


def test_bfloat16_trains(cohort, settings, tmp_path):
    summary = train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, precision="bf16", epochs=1))
    assert np.isfinite(summary.facts["train_loss"])
    assert {weight.element_size() for weight in weights(tmp_path / "run").values()} == {4}


def test_the_log_shows_the_losses(cohort, settings, tmp_path):
    (tmp_path / "c.yaml").write_text(f"text_model: {settings.text_model}\nmodel: five-fusion\nwidth: 64\nepochs: 1\n")
    flags = ["--classes", str(cohort.classes), "--cohort", str(cohort.table), "--config", str(tmp_path / "c.yaml")]
    command = ["train", str(cohort.features), "-o", str(tmp_path / "run"), "--regime", "finetune", *flags]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert re.search(r"train: 1/1 epochs, .*; train loss \d\.\d{3}, val loss \d\.\d{3}, best epoch 1", result.stderr)
