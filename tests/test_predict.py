import math

import numpy as np
import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.attention_file import read_attention
from pipelines.core.batch import Outcome
from pipelines.core.errors import ArtifactError, SettingsError
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.predict import class_probabilities, patient_rows, predict
from pipelines.train import TrainInputs, train
from tests.synthetic_features import CLASSES, DIM, QUESTIONS, write_bag, write_cohort

SMALL = {"width": 64, "diagnosis_prompts": 4, "prompt_tokens": 4}


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
    predict(cohort.features, pretrained, tmp_path, PredictSettings("test"), cohort=cohort.table, classes=cohort.classes)
    assert accuracy(tmp_path) >= 5 / 6  # chance is 1/2


@pytest.mark.slow
def test_held_out_slides_are_classified_after_finetuning_with_the_texts_of_the_run(cohort, pretrained, tmp_path):
    settings = TrainSettings(regime="finetune", epochs=10)
    inputs = TrainInputs(cohort.features, cohort.table, classes=cohort.classes, init=pretrained)
    train(inputs, tmp_path / "run", settings)
    predict(cohort.features, tmp_path / "run", tmp_path / "out", PredictSettings("test"), cohort=cohort.table)
    assert accuracy(tmp_path / "out") == 1.0


@pytest.fixture(scope="module")
def predicted(cohort, pretrained, tmp_path_factory):
    out = tmp_path_factory.mktemp("predicted")
    settings = PredictSettings()
    predict(cohort.features, pretrained, out, settings, cohort=cohort.table, classes=cohort.classes)
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
def test_heatmaps_are_drawn_where_asked_for(cohort, pretrained, tmp_path):
    (tmp_path / "one.csv").write_text("slide_id\ns03\n")
    settings = PredictSettings(heatmaps=True)
    predict(
        cohort.features, pretrained, tmp_path / "out", settings, cohort=tmp_path / "one.csv", classes=cohort.classes
    )
    assert [path.name for path in (tmp_path / "out" / "heatmaps").iterdir()] == ["s03.jpg"]


@pytest.mark.slow
def test_a_second_run_keeps_the_predictions_of_the_first(predicted, cohort, pretrained):
    settings = PredictSettings()
    summary = predict(cohort.features, pretrained, predicted, settings, cohort=cohort.table, classes=cohort.classes)
    assert {result.outcome for result in summary.results} == {Outcome.KEPT}


@pytest.mark.slow
def test_patients_are_the_mean_of_their_slides(predicted):
    slides = {row["patient_id"]: row for row in PREDICTIONS.read_rows(predicted / "predictions.parquet")}
    for row in PATIENT_PREDICTIONS.read_rows(predicted / "patients.parquet"):
        assert row["prob_round"] == slides[row["patient_id"]]["prob_round"]


@pytest.mark.slow
def test_a_slide_with_nan_features_fails_alone(cohort, pretrained, tmp_path):
    broken = write_cohort(tmp_path / "cohort", n_patients=3)
    write_bag(broken.features, "s01", np.full((4, DIM), np.nan))
    summary = predict(broken.features, pretrained, tmp_path / "out", PredictSettings(), classes=cohort.classes)
    assert [result.item_id for result in summary.failures] == ["s01"]
    assert "NaN" in summary.failures[0].error
    assert len(PREDICTIONS.read_rows(tmp_path / "out" / "predictions.parquet")) == 2


@pytest.mark.slow
def test_features_of_another_encoder_are_refused(cohort, pretrained, tmp_path):
    other = write_cohort(tmp_path / "cohort", n_patients=2)
    for slide in ("s00", "s01"):
        write_bag(other.features, slide, np.zeros((4, DIM)), encoder="other", fingerprint="9999")
    with pytest.raises(ArtifactError, match=r"features of other .* was trained on toy"):
        predict(other.features, pretrained, tmp_path / "out", PredictSettings(), classes=cohort.classes)


@pytest.mark.slow
def test_a_pretrained_run_needs_class_texts(cohort, pretrained, tmp_path):
    with pytest.raises(SettingsError, match="no class texts") as caught:
        predict(cohort.features, pretrained, tmp_path, PredictSettings())
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
