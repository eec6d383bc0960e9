"""What happens if `five train` finds a run in its folder: two processes, changed inputs, a damaged state."""

import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.batch import Outcome
from pipelines.core.errors import ArtifactError
from pipelines.core.locks import item_lock
from pipelines.core.run_manifest import RunManifest
from pipelines.core.schemas import ANSWERS, SPLITS
from pipelines.core.selection import Selection
from pipelines.core.settings import TrainSettings
from pipelines.model.training import loop
from pipelines.train import TrainInputs, train
from tests.synthetic_features import ASKED, DIM, write_bag
from tests.training_runs import pretrain_inputs, weights

HOLDER = """
import sys
from pathlib import Path
from pipelines.core.locks import item_lock
with item_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def short(settings):
    return replace(settings, model="five", epochs=1)


def outcomes(summary):
    return [result.outcome for result in summary.results]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_process_is_refused_and_changes_nothing(cohort, settings, tmp_path, overwrite):
    run = tmp_path / "run"
    train(pretrain_inputs(cohort), run, short(settings))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    command = [sys.executable, "-c", HOLDER, str(run / ".locks" / "train.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        other = replace(short(settings), seed=1) if overwrite else short(settings)
        with pytest.raises(ArtifactError, match="run: another `five train` is writing to this folder"):
            train(pretrain_inputs(cohort), run, other, selection=Selection(overwrite=overwrite))
        process.stdin.close()
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_run_holds_its_lock_until_it_is_complete_and_releases_it_then(cohort, settings, tmp_path):
    run, seen = tmp_path / "run", []

    def during(_):
        def glance():
            with item_lock(run / ".locks" / "train.lock") as acquired:
                seen.append(acquired)

        other = threading.Thread(target=glance)
        other.start()
        other.join()

    train(pretrain_inputs(cohort), run, replace(settings, epochs=1), on_result=during)
    assert seen == [False]
    assert not list((run / ".locks").iterdir())


def change_features(cohort, run, split):
    rows = SPLITS.read_rows(run / "splits.parquet")
    slide = next(row["slide_id"] for row in rows if row["split"] == split)
    write_bag(cohort.features, slide, np.random.default_rng(5).normal(size=(30, DIM)))
    return slide


@pytest.mark.parametrize("split", ["train", "val"])
def test_changed_features_train_the_run_again_and_the_slide_is_named(cohort, settings, tmp_path, caplog, split):
    run = tmp_path / "run"
    train(pretrain_inputs(cohort), run, short(settings))
    slide = change_features(cohort, run, split)
    assert outcomes(train(pretrain_inputs(cohort), run, short(settings))) == [Outcome.DONE]
    assert f"run: the run is trained again: the features of slide '{slide}' changed" in caplog.text
    assert outcomes(train(pretrain_inputs(cohort), run, short(settings))) == [Outcome.KEPT]


def test_changed_features_of_a_test_slide_change_nothing(cohort, settings, tmp_path):
    train(pretrain_inputs(cohort), tmp_path / "run", short(settings))
    change_features(cohort, tmp_path / "run", "test")
    assert outcomes(train(pretrain_inputs(cohort), tmp_path / "run", short(settings))) == [Outcome.KEPT]


def test_descriptions_are_compared_by_their_answers_and_not_by_the_file(cohort, settings, tmp_path, caplog):
    run, table = tmp_path / "run", cohort.descriptions / "answers.parquet"
    train(pretrain_inputs(cohort), run, short(settings))
    rows = ANSWERS.read_rows(table)
    ANSWERS.write(table, rows, replace(ASKED, five_version="later"))
    assert outcomes(train(pretrain_inputs(cohort), run, short(settings))) == [Outcome.KEPT]
    trained = next(row["patient_id"] for row in SPLITS.read_rows(run / "splits.parquet") if row["split"] == "train")
    changed = [{**row, "description": "Unknown"} if row["patient_id"] == trained else row for row in rows]
    ANSWERS.write(table, changed, ASKED)
    assert outcomes(train(pretrain_inputs(cohort), run, short(settings))) == [Outcome.DONE]
    assert "trained again: the descriptions changed" in caplog.text


def test_another_initial_run_trains_the_second_run_again(cohort, settings, tmp_path, caplog):
    tuned = TrainSettings(regime="finetune", model="five")
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes, init=tmp_path / "first")
    train(pretrain_inputs(cohort), tmp_path / "first", short(settings))
    train(inputs, tmp_path / "second", tuned)
    change_features(cohort, tmp_path / "first", "train")
    train(pretrain_inputs(cohort), tmp_path / "first", short(settings))
    assert outcomes(train(inputs, tmp_path / "second", tuned)) == [Outcome.DONE]
    assert "the run of --init changed" in caplog.text


def interrupted(cohort, settings, run):
    def kill(result):
        if result.item_id == "epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pretrain_inputs(cohort), run, settings, on_result=kill)
    return run / "checkpoints" / "last.safetensors"


@pytest.mark.parametrize("damage", ["truncated", "emptied", "first byte", "header", "weights", "last byte"])
def test_a_damaged_state_starts_training_from_the_beginning(cohort, settings, tmp_path, monkeypatch, caplog, damage):
    two = replace(settings, epochs=2)
    train(pretrain_inputs(cohort), tmp_path / "whole", two)
    monkeypatch.setattr(loop, "STATE_SECONDS", -1.0)
    state = interrupted(cohort, two, tmp_path / "killed")
    content = bytearray(state.read_bytes())
    place = {"first byte": 3, "header": 40, "weights": len(content) // 2, "last byte": len(content) - 1}
    if damage in place:
        content[place[damage]] ^= 4
    state.write_bytes(content[:-9] if damage == "truncated" else b"" if damage == "emptied" else bytes(content))
    resumed = train(pretrain_inputs(cohort), tmp_path / "killed", two)
    assert [result.item_id for result in resumed.results] == ["epoch 1", "epoch 2"]
    assert "last.safetensors: damaged; training starts from the beginning" in caplog.text
    whole, killed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_a_run_killed_before_its_manifest_is_written_is_not_a_run(cohort, settings, tmp_path, monkeypatch):
    def kill(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunManifest, "write", kill)
        with pytest.raises(KeyboardInterrupt):
            train(pretrain_inputs(cohort), tmp_path / "run", short(settings))
    with pytest.raises(ArtifactError, match="not a complete run"):
        RunManifest.read(tmp_path / "run")
    assert outcomes(train(pretrain_inputs(cohort), tmp_path / "run", short(settings))) == [Outcome.DONE]
