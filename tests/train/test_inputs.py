import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pipelines.core.errors import ArtifactError, CohortError, FiveError, SettingsError
from pipelines.core.schemas import EMBEDDED_SLIDES, METRICS, SPLITS
from pipelines.core.settings import PredictSettings, TrainSettings
from pipelines.predict import PredictInputs, predict
from pipelines.predict import plan as predict_plan
from pipelines.train import TrainInputs, plan, train
from tests.synthetic_features import DIM, PROVENANCE, write_bag
from tests.training_runs import finetune_inputs, pretrain_inputs


def test_slides_without_features_tiles_or_description_are_left_out_and_counted(cohort, settings, tmp_path):
    write_bag(cohort.features, "s00", np.zeros((0, DIM)))
    (cohort.features / "s01.h5").unlink()
    with cohort.table.open("a") as table:
        table.write("s50,p50,round\ns51,p51,round\n")
    rng = np.random.default_rng(0)
    write_bag(cohort.features, "s50", rng.normal(size=(9, DIM)))
    facts = train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, test_fraction=0.0)).facts
    assert facts["slides_without_tiles"] == 1
    assert facts["slides_without_features"] == 2
    assert facts["slides_without_description"] == 1
    assert facts["described_patients_without_slides"] == 2
    assert facts["training_slides"] + facts["validation_slides"] == 10


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


def test_features_of_several_encoders_need_one_folder_to_be_named(cohort, settings, tmp_path):
    both = tmp_path / "features"
    both.mkdir()
    for name in ("uni", "virchow"):
        shutil.copytree(cohort.features, both / name)
    with pytest.raises(ArtifactError, match="several encoders") as caught:
        train(replace(pretrain_inputs(cohort), features=both), tmp_path / "run", settings)
    assert f"{both / 'uni'}, {both / 'virchow'}" in caught.value.hint


@pytest.mark.parametrize("model", ["five", "five-fusion"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_a_nan_in_one_tile_stops_training_with_an_error_that_names_the_file(cohort, settings, tmp_path, part, model):
    settings = replace(settings, model=model)
    train(pretrain_inputs(cohort), tmp_path / "first", replace(settings, epochs=1))
    rows = SPLITS.read_rows(tmp_path / "first" / "splits.parquet")
    broken = next(row["slide_id"] for row in rows if row["split"] == part)
    features = np.ones((30, DIM))
    features[7, 3] = np.nan
    write_bag(cohort.features, broken, features)
    with pytest.raises(ArtifactError, match=f"{broken}.h5: the features hold NaN"):
        train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, tile_ratio=1.0))


def test_a_loss_that_is_not_finite_stops_training_with_an_error_that_names_the_slides(cohort, settings, tmp_path):
    with pytest.raises(FiveError, match=r"epoch \d: the loss is nan on a batch with the slides s\d\d"):
        train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, lr=1e30, batch_size=2))


@pytest.mark.parametrize("regime", ["pretrain", "finetune"])
def test_a_validation_loss_that_is_not_finite_stops_training_without_a_model(cohort, settings, tmp_path, regime):
    inputs = pretrain_inputs(cohort) if regime == "pretrain" else finetune_inputs(cohort)
    once = replace(settings, regime=regime, epochs=1, batch_size=100, lr=1e30, warmup=0.0, clip_norm=0.0)
    with pytest.raises(FiveError, match="epoch 1: the validation loss is nan"):
        train(inputs, tmp_path / "run", once)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_after_a_run_that_could_not_start_other_settings_may_use_the_folder(cohort, settings, tmp_path):
    with pytest.raises(FiveError):
        train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, text_model=str(tmp_path)))
    assert train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=1)).counts["done"] == 1


def test_one_class_in_training_is_refused(cohort, settings, tmp_path):
    cohort.table.write_text(re.sub("spindle", "round", cohort.table.read_text()))
    with pytest.raises(CohortError, match=r"the training slides have 1 class \(round\)"):
        train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune"))


def test_a_label_without_class_text_is_an_error_that_names_it(cohort, settings, tmp_path):
    cohort.table.write_text(cohort.table.read_text() + "s12,p12,normal\n")
    write_bag(cohort.features, "s12", np.zeros((5, DIM)))
    with pytest.raises(CohortError, match="no class text for the label 'normal'"):
        train(finetune_inputs(cohort), tmp_path / "run", replace(settings, regime="finetune", test_fraction=0.0))


@pytest.mark.parametrize(("regime", "missing"), [("pretrain", "descriptions"), ("finetune", "class texts")])
def test_an_error_names_what_a_regime_needs(cohort, settings, tmp_path, regime, missing):
    with pytest.raises(SettingsError, match=f"{regime}: needs {missing}"):
        train(TrainInputs(cohort.features, cohort.table), tmp_path / "run", replace(settings, regime=regime))


def test_a_folder_without_descriptions_is_an_error_that_names_the_command(cohort, settings, tmp_path):
    with pytest.raises(ArtifactError, match=r"answers\.parquet: no such file") as caught:
        train(replace(pretrain_inputs(cohort), descriptions=cohort.features), tmp_path / "run", settings)
    assert "five describe-reports" in caught.value.hint


@pytest.mark.parametrize("regime", ["pretrain", "finetune"])
@pytest.mark.parametrize("damage", ["unlink", "edit"])
def test_other_questions_than_those_asked_are_refused(cohort, settings, tmp_path, regime, damage):
    path = cohort.descriptions / "questions.yaml"
    text = path.read_text().replace("growth of cells", "growth of cella")
    path.unlink() if damage == "unlink" else path.write_text(text)
    inputs = replace(finetune_inputs(cohort), descriptions=cohort.descriptions)
    with pytest.raises(ArtifactError, match=r"questions\.yaml: (no such file|not the questions that were asked)"):
        train(inputs, tmp_path / "run", replace(settings, regime=regime))
    assert not (tmp_path / "run").exists()


def test_descriptions_that_match_no_patient_are_refused(cohort, settings, tmp_path):
    cohort.table.write_text(cohort.table.read_text().replace(",p0", ",x0").replace(",p1", ",x1"))
    with pytest.raises(CohortError, match="none belongs to any of the"):
        train(pretrain_inputs(cohort), tmp_path / "run", settings)


def test_the_split_file_of_another_tool_is_used_unchanged(cohort, settings, tmp_path):
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


def test_a_linear_probe_needs_a_run_to_probe(cohort, settings, tmp_path):
    with pytest.raises(SettingsError, match="linear-probe: needs a trained model"):
        train(TrainInputs(cohort.features, cohort.table), tmp_path / "run", replace(settings, regime="linear-probe"))


def test_all_slides_of_a_patient_share_its_split_and_its_description(cohort, settings, tmp_path):
    with cohort.table.open("a") as table:
        table.write("s00b,p00,round\ns01b,p01,spindle\ns01c,p01,round\n")  # the last label differs from its patient's
    rng = np.random.default_rng(0)
    for slide in ("s00b", "s01b", "s01c"):
        write_bag(cohort.features, slide, rng.normal(size=(9, DIM)))
    summary = train(pretrain_inputs(cohort), tmp_path / "run", replace(settings, epochs=1))
    rows = SPLITS.read_rows(tmp_path / "run" / "splits.parquet")
    parts = {}
    for row in rows:
        parts.setdefault(row["patient_id"], set()).add(row["split"])
    assert len(rows) == 15
    assert all(len(splits) == 1 for splits in parts.values())
    assert {row["slide_id"]: row["label"] for row in rows}["s01c"] == "round"
    assert "slides_without_description" not in summary.facts


def test_a_validation_split_with_one_class_has_a_loss_and_no_auc(cohort, settings, tmp_path):
    parts = {"train": ["s01", "s02", "s03", "s04", "s05", "s06"], "val": ["s08", "s10"], "test": ["s00", "s07"]}
    lines = [f"{row},{','.join((parts[part] + [''] * 6)[row] for part in parts)}" for row in range(6)]
    (tmp_path / "splits_0.csv").write_text("\n".join([",train,val,test", *lines]))
    inputs = finetune_inputs(cohort, splits=tmp_path / "splits_0.csv")
    train(inputs, tmp_path / "run", replace(settings, regime="finetune", epochs=1))
    rows = METRICS.read_rows(tmp_path / "run" / "metrics.parquet")
    assert {row["name"] for row in rows if row["split"] == "val"} == {"loss", "accuracy"}


def mean_settings(**more):
    return TrainSettings(model="mean", regime="finetune", epochs=1, **more)


def without_patients(cohort):
    """Remove the patients from the cohort table and from the table of `five embed`."""
    rows = [{**row, "patient_id": None} for row in EMBEDDED_SLIDES.read_rows(cohort.features / "slides.parquet")]
    EMBEDDED_SLIDES.write(cohort.features / "slides.parquet", rows, PROVENANCE)
    cohort.table.write_text(re.sub("patient_id", "pateint_id", cohort.table.read_text()))


def test_plan_and_summary_say_that_each_slide_counts_as_one_patient(cohort, tmp_path, caplog):
    inputs = TrainInputs(cohort.features, cohort.table)
    assert "patients" not in plan(inputs, tmp_path / "run", mean_settings())
    without_patients(cohort)
    one = "one patient per slide, because there is no column with patients"
    assert plan(inputs, tmp_path / "run", mean_settings())["patients"] == one
    assert train(inputs, tmp_path / "run", mean_settings()).facts["patients"] == one
    assert train(inputs, tmp_path / "run", mean_settings()).facts["patients"] == one  # the run is kept
    predicted = PredictInputs(cohort.features, tmp_path / "run", cohort.table)
    assert predict_plan(predicted, tmp_path / "out", PredictSettings())["patients"] == one
    assert predict(predicted, tmp_path / "out", PredictSettings()).facts["patients"] == one
    assert "'pateint_id' (did you mean patient_id?)" in caplog.text


def test_different_labels_of_a_patient_are_reported_and_missing_ones_do_not_count(cohort, tmp_path):
    with cohort.table.open("a") as table:
        table.write("s00b,p00,NA\ns01b,p01,round\n")
    for slide in ("s00b", "s01b"):
        write_bag(cohort.features, slide, np.ones((9, DIM)))
    inputs = TrainInputs(cohort.features, cohort.table)
    planned = plan(inputs, tmp_path / "run", mean_settings(test_fraction=0.0, val_fraction=0.0))
    assert planned["patients_with_different_labels"] == "1, for example 'p01' (round, spindle)"
    assert planned["train"] == "12 patients (round 6, spindle 5, different labels 1), 13 slides"
