import json
import shutil

import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.errors import ArtifactError, CohortError, SettingsError
from pipelines.core.folder import claim_folder
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import PATIENT_PREDICTIONS, PREDICTIONS
from pipelines.core.settings import EvaluateSettings
from pipelines.evaluate import EvaluateInputs, evaluate
from pipelines.model.prediction.patients_table import write_patients


def write(folder, lines, classes=("LUAD", "LUSC")):
    """Write predictions from ``(slide, patient, label, split, logit of the second class)``."""
    rows = []
    for slide, patient, label, split, logit in lines:
        probability = 2.0**logit / (1 + 2.0**logit)
        rows.append(
            {
                "slide_id": slide,
                "patient_id": patient,
                "label": label,
                "split": split,
                "predicted": classes[int(logit > 0)],
                "n_tiles": 5,
                f"prob_{classes[0]}": 1 - probability,
                f"prob_{classes[1]}": probability,
                f"logit_{classes[0]}": 0.0,
                f"logit_{classes[1]}": float(logit),
            }
        )
    PREDICTIONS.write(folder / "predictions.parquet", rows, Provenance({}))
    return folder


def metric_values(measured):
    return {metric.name: metric.value for metric in measured.metrics}


@pytest.fixture
def folds(tmp_path):
    """Two folds of four slides: each run trains on what the other tests. One mistake in each."""
    patients = {"a": "LUAD", "b": "LUSC", "c": "LUAD", "d": "LUSC"}
    logits = [{"a": -1, "b": 2, "c": 9, "d": 9}, {"a": 9, "b": 9, "c": 1, "d": -2}]
    tested = ["ab", "cd"]
    return [
        write(
            tmp_path / f"fold-{k}",
            [(f"s{p}", p, label, "test" if p in tested[k] else "train", logits[k][p]) for p, label in patients.items()],
        )
        for k in (0, 1)
    ]


def test_only_tested_slides_count(folds):
    found = evaluate(EvaluateInputs(folds[:1]), EvaluateSettings(resamples=0))
    assert found.pooled.n == 2
    assert found.pooled.confusion == [[1, 0], [0, 1]]
    assert found.left_out == {"in split train": 2}


def test_folds_are_pooled_and_each_slide_counts_once(folds):
    """Fold 0 is right twice, fold 1 wrong twice."""
    found = evaluate(EvaluateInputs(folds), EvaluateSettings(resamples=0))
    assert found.pooled.n == 4
    assert found.pooled.confusion == [[1, 1], [1, 1]]
    assert metric_values(found.pooled)["accuracy"] == 0.5
    assert metric_values(found.pooled)["auc"] == 0.5  # LUSC at 2 and -2 against LUAD at -1 and 1: two of four pairs
    spread = {spread.name: spread for spread in found.spread}["accuracy"]
    assert (spread.mean, spread.n_runs) == (0.5, 2)
    assert spread.sd == pytest.approx(0.5**0.5)


def test_runs_that_test_the_same_slide_are_not_pooled(tmp_path):
    runs = [
        write(tmp_path / f"seed-{k}", [("s1", "a", "LUAD", "test", -1 - k), ("s2", "b", "LUSC", "test", 1 - 3 * k)])
        for k in (0, 1)
    ]
    found = evaluate(EvaluateInputs(runs), EvaluateSettings(resamples=0))
    assert found.pooled is None
    assert [run.n for run in found.runs] == [2, 2]
    assert next(spread.mean for spread in found.spread if spread.name == "accuracy") == 0.75


def test_one_run_given_twice_is_refused_by_name(folds, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "predictions.parquet").write_bytes((folds[0] / "predictions.parquet").read_bytes())
    with pytest.raises(CohortError, match="fold-0 hold the same predictions"):
        evaluate(EvaluateInputs([folds[0], copy]), EvaluateSettings())
    with pytest.raises(CohortError, match="same predictions"):
        evaluate(EvaluateInputs([folds[0], folds[0]]), EvaluateSettings())


def test_a_slide_the_run_has_never_seen_counts_unless_its_patient_was_trained_on(tmp_path):
    folder = write(
        tmp_path / "p",
        [
            ("s1", "a", "LUAD", "train", -1),
            ("s2", "a", "LUAD", None, -1),
            ("s3", "b", "LUSC", None, 1),
            ("s4", "c", "LUAD", None, -1),
            ("s5", None, "LUAD", None, -1),
        ],
    )
    found = evaluate(EvaluateInputs([folder]), EvaluateSettings(resamples=0))
    assert [row["item"] for row in found.rows] == ["s3", "s4", "s5"]
    assert found.left_out == {"in split train": 1, "the run was trained on another slide of the patient": 1}


def test_training_slides_count_only_on_request(folds):
    found = evaluate(EvaluateInputs(folds[:1]), EvaluateSettings(split="train", resamples=0))
    assert [row["item"] for row in found.rows] == ["sc", "sd"]


@pytest.mark.parametrize("level", ["slide", "patient"])
def test_validation_patients_that_weights_were_fitted_to_are_refused_with_a_remedy(tmp_path, level):
    scores = {"split": "val", "predicted": "A", "prob_A": 0.9, "prob_B": 0.1}
    rows = [{"patient_id": "p1", "label": "A", "learned_from": True, **scores}]
    rows.append({"patient_id": "p2", "label": "B", "learned_from": False, **scores})
    if level == "slide":
        slides = [{**row, "slide_id": row["patient_id"]} for row in rows]
        PREDICTIONS.write(tmp_path / "predictions.parquet", slides, Provenance({}))
    else:
        PATIENT_PREDICTIONS.write(tmp_path / "patients.parquet", rows, Provenance({}))
    with pytest.raises(CohortError, match=rf"fitted to .* of 1 of 2 {level}s in split val, for example 'p1'") as error:
        evaluate(EvaluateInputs([tmp_path]), EvaluateSettings(split="val", level=level))
    assert "--split test" in error.value.hint
    assert "--model five-fusion" in error.value.hint


def test_labels_of_the_cohort_replace_the_recorded_ones(tmp_path):
    folder = write(
        tmp_path / "p", [("s1", "a", "LUAD", "test", 1), ("s2", "b", None, "test", -1), ("s3", "c", None, "test", 1)]
    )
    table = tmp_path / "labels.csv"
    table.write_text("slide_id,label\ns1,LUSC\ns2,LUAD\n")
    found = evaluate(EvaluateInputs([folder], cohort=table), EvaluateSettings(resamples=0))
    assert found.pooled.confusion == [[1, 0], [0, 1]]
    assert found.left_out == {"no label": 1}


def test_patients_count_once_and_by_their_cohort_label_unless_it_is_contradictory(tmp_path):
    rows = [
        {"patient_id": p, "label": None, "split": "test", "predicted": c, "n_slides": 2, "prob_A": a, "prob_B": 1 - a}
        for p, c, a in [("p1", "A", 0.9), ("p2", "B", 0.2), ("p3", "B", 0.1)]
    ]
    PATIENT_PREDICTIONS.write(tmp_path / "patients.parquet", rows, Provenance({}))
    table = tmp_path / "labels.csv"
    table.write_text("slide_id,patient_id,label\ns1,p1,A\ns2,p1,A\ns3,p2,B\ns4,p3,A\ns5,p3,B\n")
    found = evaluate(EvaluateInputs([tmp_path], cohort=table), EvaluateSettings(level="patient", resamples=0))
    assert found.pooled.n == 2
    assert metric_values(found.pooled)["auc"] == 1.0
    assert found.left_out == {"the slides of the patient have different labels": 1}


def test_a_label_that_is_no_class_of_the_run_is_refused_by_slide(tmp_path):
    folder = write(tmp_path / "p", [("s1", "a", "normal", "test", 1)])
    with pytest.raises(CohortError, match=r"label 'normal' of 's1' is not a class of the run \(LUAD, LUSC\)"):
        evaluate(EvaluateInputs([folder]), EvaluateSettings())


def test_runs_with_other_classes_are_refused(folds, tmp_path):
    other = write(tmp_path / "p", [("s1", "a", "A", "test", 1)], classes=("A", "B"))
    with pytest.raises(ArtifactError, match=r"classes A, B, but .*fold-0 has LUAD, LUSC"):
        evaluate(EvaluateInputs([folds[0], other]), EvaluateSettings())


def test_a_folder_with_nothing_to_count_is_refused_and_says_why(tmp_path):
    folder = write(tmp_path / "p", [("s1", "a", "LUAD", "train", 1), ("s2", "b", None, "test", 1)])
    with pytest.raises(CohortError, match="1 in split train; 1 no label") as error:
        evaluate(EvaluateInputs([folder]), EvaluateSettings())
    assert "--cohort" in error.value.hint


def test_a_folder_without_predictions_names_the_command_to_run(tmp_path):
    with pytest.raises(ArtifactError, match="no such file") as error:
        evaluate(EvaluateInputs([tmp_path]), EvaluateSettings())
    assert "five predict" in error.value.hint


@pytest.mark.parametrize("wrong", [{"level": "tile"}, {"split": "all"}, {"resamples": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError):
        EvaluateSettings(**wrong)


def test_the_command_prints_the_pooled_table_and_the_runs(folds):
    result = CliRunner().invoke(app, ["evaluate", *map(str, folds), "--show", "--resamples", "0"])
    assert result.exit_code == 0, result.output
    assert "4 slides of 4 patients, split test: pooled" in result.stdout
    assert "mean over runs" in result.stdout
    assert "not counted: 4 in split train" in result.stdout


def test_the_command_prints_json_for_scripts(folds):
    result = CliRunner().invoke(app, ["evaluate", *map(str, folds), "--json"])
    found = json.loads(result.stdout)
    assert found["pooled"]["n"] == 4
    assert found["settings"]["resamples"] == EvaluateSettings.resamples
    assert "rows" not in found


def test_patients_whose_slides_have_different_labels_are_counted_as_such(tmp_path):
    conflicts = {"p1": None, "p2": None, "p3": "A, B"}
    rows = [
        {"patient_id": p, "label": label, "label_conflict": conflicts[p], "split": "test", "predicted": "A"}
        | {"n_slides": 2, "prob_A": a, "prob_B": 1 - a}
        for p, label, a in [("p1", "A", 0.9), ("p2", "B", 0.2), ("p3", None, 0.1)]
    ]
    PATIENT_PREDICTIONS.write(tmp_path / "patients.parquet", rows, Provenance({}))
    found = evaluate(EvaluateInputs([tmp_path]), EvaluateSettings(level="patient", resamples=0))
    assert found.pooled.n == 2
    assert found.left_out == {"the slides of the patient have different labels": 1}


def test_a_patient_with_one_unlabeled_slide_in_the_table_keeps_the_label_of_the_others(tmp_path):
    rows = [
        {"patient_id": p, "split": "test", "predicted": c, "n_slides": 2, "prob_A": a, "prob_B": 1 - a}
        for p, c, a in [("p1", "A", 0.9), ("p2", "B", 0.2)]
    ]
    PATIENT_PREDICTIONS.write(tmp_path / "patients.parquet", rows, Provenance({}))
    table = tmp_path / "labels.csv"
    table.write_text("slide_id,patient_id,label\ns1,p1,A\ns2,p1,NA\ns3,p2,\ns4,p2,B\n")
    found = evaluate(EvaluateInputs([tmp_path], cohort=table), EvaluateSettings(level="patient", resamples=0))
    assert (found.pooled.n, found.left_out) == (2, {})


@pytest.mark.parametrize("word", ["NA", "nan", "None", "null", ""])
def test_a_recorded_label_that_means_missing_is_no_label(tmp_path, word):
    folder = write(tmp_path / "p", [("s1", "a", "LUAD", "test", 1), ("s2", "b", word, "test", 1)])
    found = evaluate(EvaluateInputs([folder]), EvaluateSettings(resamples=0))
    assert (found.pooled.n, found.left_out) == (1, {"no label": 1})


@pytest.mark.parametrize("label", ["luad", "LUAD\u200b", "L UAD"])
def test_a_label_that_nearly_equals_a_class_is_refused_with_both_names(tmp_path, label):
    folder = write(tmp_path / "p", [("s1", "a", label, "test", 1)])
    with pytest.raises(CohortError, match=r"classes of the run and labels 'LUAD' and .* differ only in case"):
        evaluate(EvaluateInputs([folder]), EvaluateSettings())


@pytest.mark.parametrize(("patients", "shown"), [(("s1", "s2"), True), ((None, None), True), (("a", "b"), False)])
def test_one_patient_per_slide_is_said_if_the_predictions_name_no_patients(tmp_path, patients, shown):
    first, second = patients
    folder = write(tmp_path / "p", [("s1", first, "LUAD", "test", 1), ("s2", second, "LUSC", "test", 1)])
    found = evaluate(EvaluateInputs([folder]), EvaluateSettings(resamples=0))
    assert found.facts == ({"patients": "one patient per slide"} if shown else {})
    output = CliRunner().invoke(app, ["evaluate", str(folder), "--resamples", "0"]).output
    assert ("patients: one patient per slide" in output) == shown


def test_slides_of_a_patient_with_different_labels_are_a_fact(tmp_path):
    folder = write(tmp_path / "p", [("s1", "a", "LUAD", "test", 1), ("s2", "a", "LUSC", "test", 1)])
    found = evaluate(EvaluateInputs([folder]), EvaluateSettings(resamples=0))
    assert found.facts == {"patients_with_different_labels": "1, for example 'a' (LUAD, LUSC)"}


def test_patients_that_do_not_fit_the_predictions_beside_them_are_refused(tmp_path):
    folder = write(tmp_path / "p", [("s1", "a", "LUAD", "test", 1), ("s2", "b", "LUSC", "test", 1)])
    settings = EvaluateSettings(level="patient", resamples=0)
    with pytest.raises(ArtifactError, match="not every slide of the cohort is predicted"):
        evaluate(EvaluateInputs([folder]), settings)
    write_patients(folder, ["LUAD", "LUSC"], Provenance({}))
    assert evaluate(EvaluateInputs([folder]), settings).pooled.n == 2
    write(folder, [("s1", "a", "LUAD", "test", 1), ("s2", "b", "LUSC", "test", -1)])
    with pytest.raises(ArtifactError, match="was made from other predictions") as error:
        evaluate(EvaluateInputs([folder]), settings)
    assert error.value.hint == "run `five predict` again"


@pytest.mark.parametrize("level", ["slide", "patient"])
def test_predictions_of_another_run_than_the_folder_was_made_with_are_refused(tmp_path, level):
    rows = [
        {
            "slide_id": p,
            "patient_id": p,
            "label": label,
            "split": "test",
            "predicted": "A",
            "prob_A": a,
            "prob_B": 1 - a,
        }
        for p, label, a in [("p1", "A", 0.9), ("p2", "B", 0.8)]
    ]
    settings = EvaluateSettings(level=level, resamples=0)
    table, name = (PREDICTIONS, "predictions") if level == "slide" else (PATIENT_PREDICTIONS, "patients")
    if level == "patient":
        rows = [{key: value for key, value in row.items() if key != "slide_id"} for row in rows]
    for run in ("one", "two"):
        claim_folder(tmp_path / run, "five predict", Provenance({}, run))
        table.write(tmp_path / run / f"{name}.parquet", rows, Provenance({}, run))
        assert evaluate(EvaluateInputs([tmp_path / run]), settings).pooled.n == 2
    shutil.copy(tmp_path / "two" / f"{name}.parquet", tmp_path / "one")
    with pytest.raises(ArtifactError, match=f"one/{name}.parquet: made with another run") as caught:
        evaluate(EvaluateInputs([tmp_path / "one"]), settings)
    assert "five predict" in caught.value.hint
