import math
from dataclasses import asdict

import h5py
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.attention_file import read_attention
from pipelines.core.batch import Outcome
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.feature_file import FEATURES, SLIDE_NOTE, content_fingerprint, read_header, slide_dimensions
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.core.selection import Selection, Shard
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.model.prediction.class_scores import class_probabilities, patient_rows
from pipelines.predict import PredictInputs, plan, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import CLASSES, DIM, QUESTIONS, write_bag, write_cohort

SMALL = {"model": "five-fusion", "width": 64, "diagnosis_prompts": 4, "prompt_tokens": 4}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def pretrained(cohort, tiny_bert, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "pretrained"
    settings = TrainSettings(text_model=str(tiny_bert), **SMALL, epochs=30, lr=1e-3, lr_text=1e-3)
    train(TrainInputs(cohort.features, cohort.table, cohort.descriptions), run, settings)
    return run


def accuracy(folder):
    rows = PREDICTIONS.read_rows(folder / "predictions.parquet")
    return sum(row["predicted"] == row["label"] for row in rows) / len(rows)


@pytest.mark.slow
def test_held_out_slides_are_classified_from_class_texts_never_seen_in_training(cohort, pretrained, tmp_path):
    predict(
        PredictInputs(cohort.features, pretrained, cohort=cohort.table, classes=cohort.classes),
        tmp_path,
        PredictSettings("test"),
    )
    assert accuracy(tmp_path) >= 5 / 6  # chance is 1/2


@pytest.mark.slow
def test_held_out_slides_are_classified_after_finetuning_with_the_texts_of_the_run(cohort, pretrained, tmp_path):
    settings = TrainSettings(regime="finetune", epochs=10)
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes, init=pretrained)
    train(inputs, tmp_path / "run", settings)
    predict(
        PredictInputs(cohort.features, tmp_path / "run", cohort=cohort.table), tmp_path / "out", PredictSettings("test")
    )
    assert accuracy(tmp_path / "out") == 1.0


@pytest.fixture(scope="module")
def predicted(cohort, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    settings = PredictSettings()
    predict(PredictInputs(cohort.features, pretrained, cohort=cohort.table, classes=cohort.classes), out, settings)
    return out


@pytest.mark.slow
def test_every_row_names_its_split_and_its_probabilities_sum_to_one(predicted, cohort):
    rows = PREDICTIONS.read_rows(predicted / "predictions.parquet")
    assert len(rows) == 24
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        assert row["prob_round"] + row["prob_spindle"] == pytest.approx(1.0, abs=1e-12)
        odds = math.log(row["prob_round"] / row["prob_spindle"])
        assert odds == pytest.approx(row["logit_round"] - row["logit_spindle"], abs=1e-6)


@pytest.mark.slow
def test_attention_has_a_row_for_each_question_and_learned_prompt(predicted):
    found = read_attention(predicted / "attention" / "s00.h5")
    assert found.prompts == [*QUESTIONS.ids, *(f"diagnosis_{number}" for number in (1, 2, 3, 4))]
    assert found.weights.shape == (7, len(found.coords))
    np.testing.assert_allclose(found.weights.astype(float).sum(axis=1), 1, atol=2e-3)
    assert found.tile_size_level0 == 448


@pytest.mark.slow
def test_heatmaps_are_drawn_only_if_requested(cohort, pretrained, tmp_path):
    (tmp_path / "one.csv").write_text("slide_id\ns03\n")
    settings = PredictSettings(heatmaps=True)
    predict(
        PredictInputs(cohort.features, pretrained, cohort=tmp_path / "one.csv", classes=cohort.classes),
        tmp_path / "out",
        settings,
    )
    assert [path.name for path in (tmp_path / "out" / "heatmaps").iterdir()] == ["s03.jpg"]


@pytest.mark.slow
def test_a_second_run_keeps_the_predictions_of_the_first(predicted, cohort, pretrained):
    settings = PredictSettings()
    summary = predict(
        PredictInputs(cohort.features, pretrained, cohort=cohort.table, classes=cohort.classes), predicted, settings
    )
    assert {result.outcome for result in summary.results} == {Outcome.KEPT}


def six_slides(cohort, folder):
    """Return a table of six slides and the inputs that name it."""
    table = folder / "six.csv"
    table.write_text("slide_id,patient_id\n" + "".join(f"s{n:02d},p{n:02d}\n" for n in range(6)))
    return table


def outcomes(summary):
    return {result.item_id: result.outcome.value for result in summary.results}


@pytest.mark.slow
def test_after_an_interruption_only_the_slides_that_are_missing_are_predicted(
    cohort, pretrained, tmp_path, monkeypatch
):
    inputs = PredictInputs(cohort.features, pretrained, six_slides(cohort, tmp_path), cohort.classes)
    monkeypatch.setattr("pipelines.core.table_writer.WRITE_SECONDS", 0.0)

    def kill_after_two(result):
        if result.item_id == "s01":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(inputs, tmp_path / "out", PredictSettings(), on_result=kill_after_two)
    assert not (tmp_path / "out" / "patients.parquet").exists()
    found = outcomes(predict(inputs, tmp_path / "out", PredictSettings()))
    assert found == {"s00": "kept", "s01": "kept", **dict.fromkeys(("s02", "s03", "s04", "s05"), "done")}
    assert len(PATIENT_PREDICTIONS.read_rows(tmp_path / "out" / "patients.parquet")) == 6


@pytest.mark.slow
def test_a_slide_embedded_again_is_predicted_again_and_the_others_are_kept(cohort, pretrained, tmp_path):
    own = write_cohort(tmp_path / "cohort", n_patients=3)
    inputs = PredictInputs(own.features, pretrained, classes=cohort.classes)
    predict(inputs, tmp_path / "out", PredictSettings())
    write_bag(own.features, "s01", np.ones((4, DIM)))
    found = outcomes(predict(inputs, tmp_path / "out", PredictSettings()))
    assert found == {"s00": "kept", "s01": "done", "s02": "kept"}
    assert len(PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")) == 3


@pytest.mark.slow
def test_labels_and_slides_are_those_of_the_current_cohort(cohort, pretrained, tmp_path):
    table = six_slides(cohort, tmp_path)
    inputs = PredictInputs(cohort.features, pretrained, table, cohort.classes)
    predict(inputs, tmp_path / "out", PredictSettings())
    table.write_text("slide_id,patient_id,label\ns00,p00,spindle\ns04,p04,round\n")
    found = predict(inputs, tmp_path / "out", PredictSettings())
    assert outcomes(found) == {"s00": "kept", "s04": "kept"}
    rows = PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")
    assert [(row["slide_id"], row["label"]) for row in rows] == [("s00", "spindle"), ("s04", "round")]
    assert len(PATIENT_PREDICTIONS.read_rows(tmp_path / "out" / "patients.parquet")) == 2


@pytest.mark.slow
def test_shards_share_the_slides_and_the_last_one_writes_the_patients(cohort, pretrained, tmp_path):
    inputs = PredictInputs(cohort.features, pretrained, six_slides(cohort, tmp_path), cohort.classes)
    first = predict(inputs, tmp_path / "out", PredictSettings(), selection=Selection(shard=Shard(1, 2)))
    assert outcomes(first) == dict.fromkeys(("s00", "s02", "s04"), "done")
    assert not (tmp_path / "out" / "patients.parquet").exists()
    assert plan(inputs, tmp_path / "out", PredictSettings())["to_do"] == 3
    predict(inputs, tmp_path / "out", PredictSettings(), selection=Selection(shard=Shard(2, 2)))
    assert len(PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")) == 6
    assert len(PATIENT_PREDICTIONS.read_rows(tmp_path / "out" / "patients.parquet")) == 6


@pytest.mark.slow
def test_a_plan_counts_slides_and_tiles_and_writes_nothing(cohort, pretrained, tmp_path):
    inputs = PredictInputs(cohort.features, pretrained, six_slides(cohort, tmp_path), cohort.classes)
    found = plan(inputs, tmp_path / "out", PredictSettings(max_tiles=10))
    assert found["slides"] == found["to_do"] == 6
    assert found["tiles_to_do"] == 60
    assert (found["model"], found["classes"]) == ("five-fusion", "round, spindle")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["cohort", "features"])
def test_heatmaps_lie_over_the_slide_where_its_file_is_known(cohort, pretrained, tmp_path, monkeypatch, where):
    drawn = []
    monkeypatch.setattr("pipelines.predict.draw_heatmap", lambda *_, thumbnail, **__: drawn.append(thumbnail))
    own = write_cohort(tmp_path / "cohort", n_patients=2)
    features = own.features / "s00.h5"
    slide, (width, height) = tmp_path / "s00.png", slide_dimensions(features)
    Image.new("RGB", (width, height), (200, 100, 150)).save(slide)
    table = tmp_path / "one.csv"
    table.write_text(f"slide_id,path\ns00,{slide}\n" if where == "cohort" else "slide_id\ns00\n")
    if where == "features":
        fingerprint, header = content_fingerprint(features), asdict(read_header(features))
        with h5py.File(features, "a") as h5:
            h5.attrs[SLIDE_NOTE] = str(slide)
        FEATURES.seal(features, fingerprint=fingerprint, header=header)
    inputs = PredictInputs(own.features, pretrained, table, cohort.classes)
    predict(inputs, tmp_path / "out", PredictSettings(heatmaps=True))
    assert drawn[0].reshape(-1, 3).mean(axis=0).tolist() == pytest.approx([200, 100, 150], abs=1)
    Image.new("RGB", (width + 1, height)).save(slide)  # another picture by now
    predict(inputs, tmp_path / "other", PredictSettings(heatmaps=True))
    assert drawn[1] is None


@pytest.mark.slow
def test_a_baseline_predicts_the_classes_it_was_trained_on_and_has_maps_where_its_paper_has(cohort, tmp_path):
    for model, maps in (("abmil", ["attention"]), ("mean", None)):
        settings = TrainSettings(model=model, regime="finetune", width=64, epochs=60, patience=60, lr=3e-3)
        train(TrainInputs(cohort.features, cohort.table), tmp_path / model, settings)
        out = tmp_path / f"{model}-out"
        predict(PredictInputs(cohort.features, tmp_path / model, cohort.table), out, PredictSettings("test"))
        assert accuracy(out) >= 5 / 6
        names = [read_attention(path).prompts for path in (out / "attention").glob("*.h5")]
        assert names == ([maps] * 6 if maps else [])
        assert "texts of round" not in (out / "report.html").read_text()  # which it does not read


@pytest.mark.slow
def test_patients_are_the_mean_of_their_slides(predicted):
    slides = {row["patient_id"]: row for row in PREDICTIONS.read_rows(predicted / "predictions.parquet")}
    for row in PATIENT_PREDICTIONS.read_rows(predicted / "patients.parquet"):
        assert row["prob_round"] == slides[row["patient_id"]]["prob_round"]


@pytest.mark.slow
def test_a_slide_with_nan_features_fails_alone(cohort, pretrained, tmp_path):
    broken = write_cohort(tmp_path / "cohort", n_patients=3)
    write_bag(broken.features, "s01", np.full((4, DIM), np.nan))
    summary = predict(
        PredictInputs(broken.features, pretrained, classes=cohort.classes), tmp_path / "out", PredictSettings()
    )
    assert [result.item_id for result in summary.failures] == ["s01"]
    assert "NaN" in summary.failures[0].error
    assert len(PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")) == 2


@pytest.mark.slow
def test_features_of_another_encoder_are_refused(cohort, pretrained, tmp_path):
    other = write_cohort(tmp_path / "cohort", n_patients=2)
    for slide in ("s00", "s01"):
        write_bag(other.features, slide, np.zeros((4, DIM)), encoder="other", fingerprint="9999")
    with pytest.raises(ArtifactError, match=r"features of other .* was trained on features of toy"):
        predict(PredictInputs(other.features, pretrained, classes=cohort.classes), tmp_path / "out", PredictSettings())


@pytest.mark.slow
def test_a_pretrained_run_needs_class_texts(cohort, pretrained, tmp_path):
    with pytest.raises(SettingsError, match="no class texts") as caught:
        predict(PredictInputs(cohort.features, pretrained), tmp_path, PredictSettings())
    assert "--classes" in caught.value.hint


@pytest.mark.slow
def test_the_commands_train_and_predict_and_show_a_table(cohort, tiny_bert, tmp_path):
    runner = CliRunner()
    run = [str(cohort.features), "--cohort", str(cohort.table), "--classes", str(cohort.classes)]
    small = ["--text-model", str(tiny_bert), "--width", "64", "--prompt-tokens", "2", "--epochs", "2"]
    trained = runner.invoke(app, ["train", *run, "--regime", "finetune", *small, "-o", str(tmp_path / "run")])
    assert trained.exit_code == 0, trained.output
    shown = runner.invoke(
        app,
        ["predict", str(cohort.features), "--run", str(tmp_path / "run"), "--split", "test", "-o", str(tmp_path / "p")],
    )
    assert shown.exit_code == 0, shown.output
    assert "Predictions" in shown.output
    assert all(name in shown.output for name in CLASSES)


def test_probabilities_stay_exact_where_float32_would_saturate():
    probabilities = class_probabilities(np.array([300.0 * 0.9, 300.0 * 0.8]))
    assert probabilities[1] == pytest.approx(math.exp(-30), rel=1e-9)
    assert 0 < probabilities[1] < 1


def test_a_patient_has_the_mean_probability_and_no_label_if_the_slides_disagree():
    slides = [
        {"patient_id": "p", "label": label, "split": "test", "prob_a": a, "prob_b": 1 - a}
        for label, a in (("a", 0.9), ("b", 0.2), ("a", 0.1))
    ]
    (row,) = patient_rows(slides, ["a", "b"])
    assert (row["label"], row["n_slides"], row["predicted"]) == (None, 3, "b")
    assert row["prob_a"] == pytest.approx(0.4)
