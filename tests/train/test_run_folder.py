"""A run folder is one whole: readers notice each file that is not the one of the run, and `train` makes it again."""

import hashlib
import shutil
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from pipelines.core.batch import Outcome
from pipelines.core.errors import ArtifactError, ChangedSettingsError, FiveError, SettingsError
from pipelines.core.run_manifest import MANIFEST, REMAKEABLE, TRAINED, RunManifest
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.inspect import inspect
from pipelines.model.networks.checkpoint import load_model
from pipelines.predict import PredictInputs, predict
from pipelines.train import TrainInputs, plan, train
from tests.run_manifests import mark_complete
from tests.synthetic_features import ask_otherwise, write_cohort

FILES = (MANIFEST, *TRAINED, *REMAKEABLE)
READS = {
    "predict": {MANIFEST, "config.yaml", "model.safetensors", "splits.parquet", "classes.yaml"},
    "init": {MANIFEST, "config.yaml", "model.safetensors", "splits.parquet", "questions.yaml"},
    "splits": {MANIFEST, "splits.parquet"},
}
"""Reader -> files of the run that it reads."""


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGES = {
    "deleted": lambda path, other: path.unlink(),
    "emptied": lambda path, other: path.write_bytes(b""),
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-7]),
    "flipped": lambda path, other: path.write_bytes(flip(path.read_bytes())),
    "of another run": lambda path, other: shutil.copy(other / path.name, path),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"), n_patients=12)


@pytest.fixture(scope="module")
def tuned(tiny_bert):
    return TrainSettings(text_model=str(tiny_bert), model="five", regime="finetune")


def tune_inputs(cohort, **more):
    return TrainInputs(cohort.features, cohort.table, cohort.descriptions, cohort.classes, **more)


@pytest.fixture(scope="module")
def finished(shared, tuned, tmp_path_factory):
    """Return two finished runs that differ in each file."""
    folder = tmp_path_factory.mktemp("runs")
    train(tune_inputs(shared), folder / "run", tuned)
    classes, descriptions = folder / "classes.yaml", folder / "descriptions"
    classes.write_text("classes: {round: [rings], spindle: [bundles]}")
    shutil.copytree(shared.descriptions, descriptions)
    ask_otherwise(descriptions, "growth of cells", "growth")
    inputs = replace(tune_inputs(shared), classes=classes, descriptions=descriptions)
    train(inputs, folder / "other", replace(tuned, seed=7, test_fraction=0.5))
    assert set(digests(folder / "run")) == set(FILES)
    assert not set(digests(folder / "run").values()) & set(digests(folder / "other").values())
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished / "run", tmp_path / "run")


def digests(run):
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in FILES if (run / name).exists()}


def use(reader, run, cohort, settings, out):
    """Read a run as `five predict`, ``--init`` or ``--splits`` does."""
    if reader == "predict":
        return predict(PredictInputs(cohort.features, run, cohort.table), out, PredictSettings())
    given = {"init": {"init": run}, "splits": {"splits": run / "splits.parquet"}}[reader]
    return plan(tune_inputs(cohort, **given), out, settings)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage",
    [pytest.param(name, marks=[] if name == "flipped" else pytest.mark.slow) for name in DAMAGES],
)
def test_readers_refuse_a_file_that_is_not_the_one_of_the_run_and_training_makes_it_again(
    shared, tuned, finished, run, tmp_path, name, damage
):
    DAMAGES[damage](run / name, finished / "other")
    for reader, files in READS.items():
        if name not in files or (reader, name, damage) == ("splits", MANIFEST, "deleted"):
            use(reader, run, shared, tuned, tmp_path / reader)
            continue
        if (name, damage) == (MANIFEST, "of another run"):  # the manifest is intact; the files are not those it lists
            expected = r"run/.*: not as `five train` wrote it"
        else:
            expected = f"run/{name}: "
        with pytest.raises(FiveError, match=expected) as caught:
            use(reader, run, shared, tuned, tmp_path / reader)
        assert "five train" in caught.value.hint
        assert "\n" not in str(caught.value)
    if (name, damage) == (MANIFEST, "of another run"):
        assert train(tune_inputs(shared), run, tuned).counts["done"] == 1
    else:
        summary = train(tune_inputs(shared), run, tuned)
        is_kept = [result.outcome for result in summary.results] == [Outcome.KEPT]
        assert is_kept == (name in REMAKEABLE)
        assert summary.facts.get("made_again") == (name if is_kept else None)
    assert digests(run) == digests(finished / "run")


def test_several_missing_files_are_made_again_without_training(shared, tuned, finished, run):
    for name in (*REMAKEABLE, "five.json"):
        (run / name).unlink()
    assert plan(tune_inputs(shared), run, tuned)["finished_run_in_the_folder"].startswith("kept; made again: splits")
    assert train(tune_inputs(shared), run, tuned).facts["made_again"] == ", ".join(REMAKEABLE)
    assert digests(run) == digests(finished / "run")
    assert (run / "five.json").exists()


@pytest.mark.parametrize(
    ("edit", "name"),
    [("regime: finetune", "config.yaml"), ("round", "classes.yaml"), ("growth", "questions.yaml")],
)
def test_an_edited_file_is_noticed(shared, tuned, run, tmp_path, edit, name):
    path = run / name
    path.write_text(path.read_text().replace(edit, edit + " "))
    reader = "init" if name == "questions.yaml" else "predict"
    with pytest.raises(ArtifactError, match=f"{name}: not as `five train` wrote it: damaged, edited") as caught:
        use(reader, run, shared, tuned, tmp_path / "out")
    assert ("--classes" in caught.value.hint) == (name == "classes.yaml")
    if name == "classes.yaml":  # the way to predict with other texts
        inputs = PredictInputs(shared.features, run, shared.table, shared.classes)
        assert predict(inputs, tmp_path / "out", PredictSettings()).counts["done"] == 12


def test_class_texts_that_a_user_adds_to_a_run_without_classes_are_refused(shared, tuned, tmp_path):
    run = tmp_path / "run"
    train(replace(tune_inputs(shared), classes=None), run, replace(tuned, regime="pretrain"))
    shutil.copy(shared.classes, run / "classes.yaml")
    with pytest.raises(ArtifactError, match="does not belong to the run") as caught:
        use("predict", run, shared, tuned, tmp_path / "out")
    assert "--classes" in caught.value.hint


def test_splits_outside_a_run_folder_may_be_used(shared, tuned, run, tmp_path):
    shutil.copy(run / "splits.parquet", tmp_path / "splits.parquet")
    assert plan(tune_inputs(shared, splits=tmp_path / "splits.parquet"), tmp_path / "out", tuned)["train"]


def test_a_run_whose_record_of_settings_is_missing_is_not_overwritten_with_other_settings(shared, tuned, run):
    (run / "five.json").unlink()
    with pytest.raises(ChangedSettingsError, match="made with other settings: seed 0 -> 3"):
        train(tune_inputs(shared), run, replace(tuned, seed=3))


def test_a_run_cannot_overwrite_the_run_it_starts_from(shared, tuned, run, finished):
    with pytest.raises(SettingsError, match="given as --init and as the output"):
        train(tune_inputs(shared, init=run), run, tuned)
    assert digests(run) == digests(finished / "run")


def test_files_of_one_run_are_read_with_its_manifest_even_if_another_run_replaces_them(finished, tmp_path, run):
    manifest = RunManifest.read(run)
    for name in FILES:
        shutil.copy(finished / "other" / name, run / name)
    assert load_model(run)
    with pytest.raises(ArtifactError, match=r"config\.yaml: not as"):
        load_model(run, manifest=manifest)


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_predictions_of_another_model_are_made_again(shared, run, tmp_path, name):
    inputs = PredictInputs(shared.features, run, shared.table)
    predict(inputs, tmp_path / "out", PredictSettings())
    assert predict(inputs, tmp_path / "out", PredictSettings()).counts["kept"] == 12
    if name == "config.yaml":
        (run / name).write_text((run / name).read_text() + "# another run")
    else:
        save_file({key: 2 * value for key, value in load_file(run / name).items()}, run / name)
    mark_complete(run)
    assert predict(inputs, tmp_path / "out", PredictSettings()).counts["done"] == 12


def test_predictions_are_kept_after_the_splits_of_the_run_were_made_again(shared, tuned, run, tmp_path):
    inputs = PredictInputs(shared.features, run, shared.table)
    predict(inputs, tmp_path / "out", PredictSettings())
    (run / "splits.parquet").unlink()
    train(tune_inputs(shared), run, tuned)
    assert predict(inputs, tmp_path / "out", PredictSettings()).counts["kept"] == 12


def test_inspect_says_whether_the_files_of_a_run_are_complete(run):
    assert inspect(run).facts["files_of_the_run"] == "complete"
    (run / "questions.yaml").unlink()
    assert inspect(run).facts["files_of_the_run"] == "questions.yaml (no such file, but it belongs to the run)"
