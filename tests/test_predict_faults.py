"""Bad feature files, damaged outputs and concurrent shards of `five predict`."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import pipelines
from fivecli.app import app
from pipelines.core.errors import ArtifactError
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.model.prediction.patients_table import refuse_stale_patients
from pipelines.predict import PredictInputs, plan, predict
from pipelines.train import TrainInputs, train
from tests.run_manifests import mark_complete
from tests.synthetic_features import DIM, write_bag, write_cohort

N_SLIDES = 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of a small model with an attention map."""
    folder = tmp_path_factory.mktemp("run")
    cohort = write_cohort(folder / "cohort")
    settings = TrainSettings(model="abmil", regime="finetune", width=64, epochs=1)
    train(TrainInputs(cohort.features, cohort.table), folder / "run", settings)
    return folder / "run"


@pytest.fixture
def features(tmp_path):
    return write_cohort(tmp_path / "cohort", n_patients=N_SLIDES).features


@pytest.fixture
def inputs(features, run):
    return PredictInputs(features, run)


def outcomes(summary):
    return [result.outcome.value for result in summary.results]


def tables(out):
    return [
        PREDICTIONS.read_rows(out / "predictions.parquet"),
        PATIENT_PREDICTIONS.read_rows(out / "patients.parquet"),
    ]


def with_shape_1_n_d(features):
    with h5py.File(features / "s01.h5", "a") as h5:
        values = h5["features"][:]
        del h5["features"]
        h5["features"] = values[np.newaxis]


BAD = {
    "truncated": lambda features: (features / "s01.h5").write_bytes((features / "s01.h5").read_bytes()[:-900]),
    "empty": lambda features: (features / "s01.h5").write_bytes(b""),
    "foreign": lambda features: (features / "s01.h5").write_text("not HDF5"),
    "shape (1, N, D)": with_shape_1_n_d,
    "NaN": lambda features: write_bag(features, "s01", np.full((5, DIM), np.nan)),
    "infinite": lambda features: write_bag(features, "s01", np.full((5, DIM), np.inf)),
    "another resolution": lambda features: write_bag(features, "s01", np.ones((5, DIM)), mpp=1.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", BAD.values(), ids=BAD)
def test_a_bad_feature_file_fails_only_its_slide(inputs, features, tmp_path, damage):
    damage(features)
    summary = predict(inputs, tmp_path / "out", PredictSettings())
    assert outcomes(summary) == ["done", "failed", "done", "done"]
    assert summary.facts["slides_not_predicted"] == 1
    (failure,) = summary.failures
    assert failure.error.startswith(f"{features / 's01.h5'}: ")
    assert "\n" not in failure.error
    assert [row["slide_id"] for row in PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")] == [
        "s00",
        "s02",
        "s03",
    ]
    assert not (tmp_path / "out" / "patients.parquet").exists()
    assert plan(inputs, tmp_path / "out", PredictSettings())["to_do"] == 1
    write_bag(features, "s01", np.ones((5, DIM)))
    assert outcomes(predict(inputs, tmp_path / "out", PredictSettings())) == ["kept", "done", "kept", "kept"]
    refuse_stale_patients(tmp_path / "out" / "patients.parquet")


@pytest.mark.slow
def test_a_slide_that_was_predicted_and_then_damaged_leaves_the_tables(inputs, features, tmp_path):
    predict(inputs, tmp_path / "out", PredictSettings())
    (features / "s01.h5").write_bytes(b"")
    assert outcomes(predict(inputs, tmp_path / "out", PredictSettings())) == ["kept", "failed", "kept", "kept"]
    assert not (tmp_path / "out" / "patients.parquet").exists()
    assert "s01" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_the_command_names_the_bad_file_and_ends_with_an_exit_code_for_failed_slides(features, run, tmp_path):
    for slide in ("s01", "s02"):
        (features / f"{slide}.h5").write_bytes(b"")
    result = CliRunner().invoke(app, ["predict", str(features), "--run", str(run), "-o", str(tmp_path / "out")])
    assert result.exit_code == 3
    assert "s01.h5" in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_a_cohort_of_bad_files_alone_fails_slide_by_slide(inputs, features, tmp_path):
    for path in features.glob("*.h5"):
        path.write_bytes(b"")
    assert outcomes(predict(inputs, tmp_path / "out", PredictSettings())) == ["failed"] * N_SLIDES


@pytest.mark.slow
def test_features_of_another_resolution_than_the_run_was_trained_on_are_refused(inputs, features, tmp_path):
    for number in range(N_SLIDES):
        write_bag(features, f"s{number:02d}", np.ones((5, DIM)), mpp=1.0)
    with pytest.raises(ArtifactError, match=r"4 of 4 .*at 1 microns per pixel.*, but the run was trained on .*at 0\.5"):
        predict(inputs, tmp_path / "out", PredictSettings())
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["attention", "heatmaps"])
@pytest.mark.parametrize("damage", ["removed", "one bit", "all removed"])
def test_missing_or_damaged_attention_files_and_heatmaps_are_made_again(inputs, tmp_path, folder, damage):
    out, settings = tmp_path / "out", PredictSettings(heatmaps=True)
    predict(inputs, out, settings)
    before = tables(out)
    paths = sorted((out / folder).iterdir())
    contents = {path: path.read_bytes() for path in paths}
    damaged = paths if damage == "all removed" else paths[2:3]
    for path in damaged:
        path.unlink()
        if damage == "one bit":
            path.write_bytes(contents[path][:-40] + bytes([contents[path][-40] ^ 1]) + contents[path][-39:])
    expected = ["done" if path in damaged else "kept" for path in paths]
    assert outcomes(predict(inputs, out, settings)) == expected
    assert {path: path.read_bytes() for path in (out / folder).iterdir()} == contents
    assert tables(out) == before


@pytest.mark.slow
def test_a_report_that_was_removed_is_written_again(inputs, tmp_path):
    predict(inputs, tmp_path, PredictSettings())
    (tmp_path / "report.html").unlink()
    assert set(outcomes(predict(inputs, tmp_path, PredictSettings()))) == {"kept"}
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_shards_with_overwrite_and_other_settings_keep_each_others_rows(inputs, tmp_path):
    predict(inputs, tmp_path / "out", PredictSettings())
    settings = PredictSettings(max_tiles=5)
    for index in (1, 2):
        selection = Selection(shard=Shard(index, 2), overwrite=True)
        assert outcomes(predict(inputs, tmp_path / "out", settings, selection=selection)) == ["done", "done"]
    predict(inputs, tmp_path / "undisturbed", settings)
    assert tables(tmp_path / "out") == tables(tmp_path / "undisturbed")


@pytest.mark.slow
def test_other_weights_of_a_run_predict_all_slides_again(inputs, run, tmp_path):
    predict(inputs, tmp_path / "out", PredictSettings())
    other = shutil.copytree(run, tmp_path / "other")
    weights = other / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"model\.safetensors: not as `five train` wrote it"):
        predict(replace(inputs, run=other), tmp_path / "new", PredictSettings())
    mark_complete(other)
    assert plan(replace(inputs, run=other), tmp_path / "out", PredictSettings())["to_do"] == N_SLIDES
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors: no such file"):
        predict(replace(inputs, run=other), tmp_path / "out", PredictSettings())


@pytest.mark.slow
def test_shards_in_separate_processes_write_the_tables_of_one_run(inputs, features, run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "fivecli",
        "predict",
        str(features),
        "--run",
        str(run),
        "-o",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(pipelines.__file__).parents[1])}
    shards = [subprocess.Popen([*command, "--shard", f"{index}/2"], env=environment) for index in (1, 2)]
    assert [shard.wait() for shard in shards] == [0, 0]
    predict(inputs, tmp_path / "undisturbed", PredictSettings())
    assert tables(tmp_path / "out") == tables(tmp_path / "undisturbed")
    report = (tmp_path / "out" / "report.html").read_text()
    assert all(f"s{number:02d}" in report for number in range(N_SLIDES))
