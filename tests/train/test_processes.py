import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.resources import Resources
from pipelines.core.run_manifest import RunManifest
from pipelines.core.schemas import METRICS, SPLITS
from pipelines.core.settings import TrainSettings
from pipelines.model.training import loop
from pipelines.train import TrainInputs, train
from tests.synthetic_features import write_cohort
from tests.training_runs import small_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), n_patients=22)


@pytest.fixture(scope="module")
def settings(tiny_bert):
    """Return settings with 5 batches per epoch: two updates of 2 batches and one of 1 batch."""
    return small_settings(tiny_bert, batch_size=3, accumulation=2, test_fraction=0.2, val_fraction=0.2)


def launched(processes, cohort, settings, out, config=None):
    """Run `five train` in several processes, as users do; return the completed process."""
    config = (config or out).with_suffix(".yaml")
    config.write_text("\n".join(f"{name}: {json.dumps(value)}" for name, value in changed(settings).items()))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)),
        *("-m", "fivecli", "train", str(cohort.features), "--cohort", str(cohort.table)),
        *("--descriptions", str(cohort.descriptions), "-o", str(out), "--config", str(config), "--device", "cpu"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


def inputs(cohort):
    return TrainInputs(cohort.features, cohort.table, cohort.descriptions)


def assert_same_runs(run, other):
    rows = [METRICS.read_rows(each / "metrics.parquet") for each in (run, other)]
    assert [row["value"] for row in rows[1]] == pytest.approx([row["value"] for row in rows[0]], abs=1e-4)
    weights = load_file(other / "model.safetensors")
    for name, expected in load_file(run / "model.safetensors").items():
        torch.testing.assert_close(weights[name], expected, atol=2e-4, rtol=1e-3, msg=name)


def changed(settings):
    default = TrainSettings().as_dict()
    return {name: value for name, value in settings.as_dict().items() if value != default[name]}


def test_two_processes_give_the_same_result_as_one(cohort, settings, tmp_path):
    train(inputs(cohort), tmp_path / "one", settings, resources=Resources(device="cpu"))
    done = launched(2, cohort, settings, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    assert_same_runs(tmp_path / "one", tmp_path / "two")
    assert done.stdout.count("written to") == 1


def test_two_processes_resume_the_run_of_one(cohort, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "STATE_SECONDS", -1.0)

    def kill(result):
        if result.item_id == "epoch 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(inputs(cohort), tmp_path / "killed", settings, resources=Resources(device="cpu"), on_result=kill)
    train(inputs(cohort), tmp_path / "whole", settings, resources=Resources(device="cpu"))
    done = launched(2, cohort, settings, tmp_path / "killed")
    assert done.stdout.startswith("1 epochs: 1 done")
    assert_same_runs(tmp_path / "whole", tmp_path / "killed")


def test_an_update_that_cannot_be_divided_among_the_processes_is_an_error(cohort, settings, tmp_path):
    done = launched(2, cohort, replace(settings, accumulation=3), tmp_path / "run")
    assert done.returncode != 0
    assert "accumulation: 3 batches per update cannot be divided among 2 processes" in done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_two_commands_at_the_same_time_give_one_whole_run(cohort, settings, tmp_path, processes):
    out = tmp_path / "run"
    with ThreadPoolExecutor(2) as pool:
        others = [replace(settings, seed=seed) for seed in (0, 1)]
        configs = [tmp_path / "a", tmp_path / "b"]
        done = list(
            pool.map(lambda each: launched(processes, cohort, each[0], out, each[1]), zip(others, configs, strict=True))
        )
    assert sorted(each.returncode == 0 for each in done) == [False, True]
    refused = next(each for each in done if each.returncode)
    assert "another `five train` is writing to this folder" in refused.stderr or "other settings" in refused.stderr
    manifest = RunManifest.read(out)
    assert not any(manifest.problem(name) for name in manifest.files)
    seeds = [SPLITS.provenance(out / "splits.parquet").settings["seed"], manifest.settings["seed"]]
    assert seeds == [METRICS.provenance(out / "metrics.parquet").settings["seed"]] * 2
