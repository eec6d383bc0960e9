import csv

import cv2
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict
from typer.testing import CliRunner

import pipelines.demo as stage
from fivecli.app import app
from pipelines.core.batch import Outcome
from pipelines.core.cohort import read_cohort
from pipelines.core.errors import ChangedSettingsError, SettingsError
from pipelines.core.selection import Selection
from pipelines.core.settings import DemoSettings
from pipelines.demo import SlideToDraw, draw_slide, make_cohort
from pipelines.synthetic.patients import FINDINGS, LABELS, draw_patients
from pipelines.synthetic.stains import Stain


def rows(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def quick(monkeypatch):
    """Draw a small grey picture in place of a slide."""
    monkeypatch.setattr(stage, "draw_slide", lambda slide, seed: np.full((300, 300, 3), 90, np.uint8))


@pytest.fixture
def cohort(tmp_path, quick):
    make_cohort(tmp_path / "cohort", DemoSettings(patients=8, seed=5))
    return tmp_path / "cohort"


def test_the_cohort_table_is_read_by_the_other_stages(cohort):
    slides = read_cohort(cohort / "cohort.csv")
    assert len({slide.patient_id for slide in slides}) == 8
    assert {slide.label for slide in slides} == set(LABELS)
    assert all(slide.path.is_file() for slide in slides)
    assert all(slide.mpp is None and slide.split is None for slide in slides)


def test_every_patient_has_one_report_and_one_row_of_truth(cohort):
    patients = {slide.patient_id for slide in read_cohort(cohort / "cohort.csv")}
    for table in ("reports.csv", "truth.csv"):
        found = [row["patient_id"] for row in rows(cohort / table)]
        assert sorted(found) == sorted(patients)
    assert [row["report_id"] for row in rows(cohort / "reports.csv")] == [
        row["report_id"] for row in rows(cohort / "truth.csv")
    ]


def test_the_folder_says_that_it_is_synthetic(cohort):
    assert "SYNTHETIC" in (cohort / "README.txt").read_text().splitlines()[0]
    assert all(row["text"].startswith("SYNTHETIC REPORT") for row in rows(cohort / "reports.csv"))


def test_a_second_run_keeps_the_slides(cohort, quick):
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=5))
    assert {result.outcome for result in summary.results} == {Outcome.KEPT}


def test_a_damaged_slide_is_drawn_anew(cohort, quick):
    path = cohort / "slides" / "P003-S1.svs"
    path.write_bytes(b"half a slide")
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=5))
    assert [result.item_id for result in summary.results if result.outcome is Outcome.DONE] == ["P003-S1"]


def test_other_settings_are_refused_unless_overwritten(cohort, quick):
    with pytest.raises(ChangedSettingsError, match="seed 5 -> 6"):
        make_cohort(cohort, DemoSettings(patients=8, seed=6))
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=6), selection=Selection(overwrite=True))
    assert {result.outcome for result in summary.results} == {Outcome.DONE}


def test_the_same_seed_makes_the_same_files(tmp_path, quick):
    for name in ("a", "b"):
        make_cohort(tmp_path / name, DemoSettings(patients=4))
    written = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file()]
    assert len(written) >= 4 + 5  # slides; tables, README and claim
    for name in written:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_two_patients_cannot_make_a_cohort():
    with pytest.raises(SettingsError, match="patients: 2 is too few"):
        DemoSettings(patients=2)


def test_the_command_writes_a_cohort_and_says_where(tmp_path, quick):
    result = CliRunner().invoke(app, ["demo", "cohort", "-o", str(tmp_path / "c"), "--patients", "4"])
    assert result.exit_code == 0, result.output
    assert "4" in result.output
    assert (tmp_path / "c" / "cohort.csv").is_file()


def test_half_of_the_patients_have_each_label():
    labels = [patient.label for patient in draw_patients(24, seed=0)]
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, 12)


def what_the_tables_show(patient, seed):
    """Everything about a patient but the slides' pixels and the report's text."""
    stain = Stain.draw(np.random.default_rng([seed, patient.number, 0]))
    findings = [list([*odds, "unknown"]).index(patient.stated[name]) for name, odds in FINDINGS.items()]
    report_number = int(patient.report_id[1:])
    order = [patient.number, patient.number % 2, report_number, report_number % 2, patient.n_slides]
    return [*order, *findings, stain.haematoxylin, stain.eosin, *stain.tint, *stain.background]


def test_ids_order_findings_and_stain_do_not_tell_the_label():
    seeds = range(60)
    patients = [(patient, seed) for seed in seeds for patient in draw_patients(24, seed)]
    known = np.array([what_the_tables_show(patient, seed) for patient, seed in patients])
    labels = np.array([patient.label == "glandular" for patient, _ in patients])
    groups = np.array([seed for _, seed in patients])
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
    guesses = cross_val_predict(forest, known, labels, groups=groups, cv=GroupKFold(5))
    assert abs((guesses == labels).mean() - 0.5) < 0.04  # three standard errors of 1,440 coin throws


@pytest.mark.slow
def test_colour_size_and_tissue_of_a_slide_do_not_tell_the_label():
    """The same slides drawn under either label: the label changes them far less than the patient does."""
    seen = {label: [] for label in LABELS}
    for patient in draw_patients(6, seed=2):
        for label, figures in seen.items():
            twin = type(patient)(**{**vars(patient), "label": label})
            figures.append(seen_from_afar(draw_slide(SlideToDraw("twin", 1, twin), seed=2)))
    one, other = (np.array(figures) for figures in seen.values())
    shift = np.abs((one - other).mean(axis=0))
    spread = np.concatenate([one, other]).std(axis=0)
    assert (shift < 0.25 * spread).all(), dict(zip(("r", "g", "b", "h", "w", "tissue"), shift / spread, strict=True))


def seen_from_afar(rgb):
    """Mean colour, size, and share of tissue."""
    tissue = cv2.blur(rgb, (129, 129)).min(axis=2) < 225
    return [*cv2.mean(rgb)[:3], *rgb.shape[:2], tissue.mean()]
