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
from pipelines.synthetic.tissue import DrawnTissue


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def quick(monkeypatch):
    """Draw a small gray image instead of a slide."""
    monkeypatch.setattr(stage, "draw_slide", lambda *_: DrawnTissue(np.full((300, 300, 3), 90, np.uint8), {}))


@pytest.fixture
def cohort(tmp_path, quick):
    make_cohort(tmp_path / "cohort", DemoSettings(patients=8, seed=5))
    return tmp_path / "cohort"


def test_the_cohort_table_can_be_read_by_the_other_commands(cohort):
    slides = read_cohort(cohort / "cohort.csv")
    assert len({slide.patient_id for slide in slides}) == 8
    assert {slide.label for slide in slides} == set(LABELS)
    assert all(slide.path.is_file() for slide in slides)
    assert all(slide.mpp is None and slide.split is None for slide in slides)


def test_every_patient_has_one_report_and_one_row_of_truth(cohort):
    patients = {slide.patient_id for slide in read_cohort(cohort / "cohort.csv")}
    for table in ("reports.csv", "truth.csv"):
        assert sorted(row["patient_id"] for row in read_csv(cohort / table)) == sorted(patients)
    assert [row["report_id"] for row in read_csv(cohort / "reports.csv")] == [
        row["report_id"] for row in read_csv(cohort / "truth.csv")
    ]


def test_the_folder_says_that_it_is_synthetic(cohort):
    assert "SYNTHETIC" in (cohort / "README.txt").read_text().splitlines()[0]
    assert all(row["text"].startswith("SYNTHETIC REPORT") for row in read_csv(cohort / "reports.csv"))


def test_a_second_run_keeps_the_slides(cohort, quick):
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=5))
    assert {result.outcome for result in summary.results} == {Outcome.KEPT}


def test_a_damaged_slide_is_drawn_again(cohort, quick):
    path = cohort / "slides" / "P003-S1.svs"
    path.write_bytes(b"half a slide")
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=5))
    assert [result.item_id for result in summary.results if result.outcome is Outcome.DONE] == ["P003-S1"]


def test_slides_that_another_version_drew_are_drawn_again(cohort, quick, monkeypatch):
    monkeypatch.setattr(stage, "DRAWING", stage.DRAWING + 1)
    summary = make_cohort(cohort, DemoSettings(patients=8, seed=5))
    assert {result.outcome for result in summary.results} == {Outcome.DONE}


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


def test_two_patients_are_too_few_for_a_cohort():
    with pytest.raises(SettingsError, match="patients: 2 is too few"):
        DemoSettings(patients=2)


def test_the_command_writes_a_cohort(tmp_path, quick):
    result = CliRunner().invoke(app, ["demo", "cohort", "-o", str(tmp_path / "c"), "--patients", "4"])
    assert result.exit_code == 0, result.output
    assert "4" in result.output
    assert (tmp_path / "c" / "cohort.csv").is_file()


def test_the_command_reads_a_file(tmp_path):
    config = tmp_path / "demo.yaml"
    config.write_text("patients: 2\n")
    result = CliRunner().invoke(app, ["demo", "cohort", "-o", str(tmp_path / "cohort"), "--config", str(config)])
    assert "patients: 2 is too few" in str(result.exception)


def test_half_of_the_patients_have_each_label():
    labels = [patient.label for patient in draw_patients(24, seed=0)]
    assert {label: labels.count(label) for label in LABELS} == dict.fromkeys(LABELS, 12)


def test_a_slide_shows_the_findings_that_are_present_whether_or_not_the_report_mentions_them(monkeypatch):
    monkeypatch.setattr(stage, "draw_tissue", lambda rng, growth, share, stain, shown: list(shown))
    monkeypatch.setattr(stage, "PEN_SHARE", 0)
    monkeypatch.setattr(stage, "BUBBLE_SHARE", 0)
    for patient in draw_patients(24, seed=1):
        visible = ["air_spaces", "vascular_invasion", "necrosis"]
        present = [finding for finding in visible if patient.findings[finding] == "present"]
        assert draw_slide(SlideToDraw("s", 1, patient), seed=1) == present


def known_without_slide_and_report(patient, seed):
    """Return everything about a patient except the pixels of the slides and the text of the report."""
    stain = Stain.draw(np.random.default_rng([seed, patient.number, 0]))
    findings = [list([*odds, "unknown"]).index(patient.stated[name]) for name, odds in FINDINGS.items()]
    report_number = int(patient.report_id[1:])
    order = [patient.number, patient.number % 2, report_number, report_number % 2, patient.n_slides]
    return [*order, *findings, stain.haematoxylin, stain.eosin, *stain.tint, *stain.background]


def test_ids_order_findings_and_stain_do_not_predict_the_label():
    seeds = range(60)
    patients = [(patient, seed) for seed in seeds for patient in draw_patients(24, seed)]
    known = np.array([known_without_slide_and_report(patient, seed) for patient, seed in patients])
    labels = np.array([patient.label == "glandular" for patient, _ in patients])
    groups = np.array([seed for _, seed in patients])
    forest = RandomForestClassifier(60, min_samples_leaf=5, random_state=0)
    guesses = cross_val_predict(forest, known, labels, groups=groups, cv=GroupKFold(5))
    assert abs((guesses == labels).mean() - 0.5) < 0.04  # three standard errors of 1,440 coin flips


@pytest.mark.slow
def test_color_size_and_tissue_of_a_slide_do_not_predict_the_label():
    """Draw the same slides with either label: the label changes them far less than the patient does."""
    properties = {label: [] for label in LABELS}
    for patient in draw_patients(6, seed=2):
        for label, rows in properties.items():
            twin = type(patient)(**{**vars(patient), "label": label})
            rows.append(coarse_properties(draw_slide(SlideToDraw("twin", 1, twin), seed=2).rgb))
    first, second = (np.array(rows) for rows in properties.values())
    shift = np.abs((first - second).mean(axis=0))
    spread = np.concatenate([first, second]).std(axis=0)
    assert (shift < 0.25 * spread).all(), dict(zip(("r", "g", "b", "h", "w", "tissue"), shift / spread, strict=True))


def coarse_properties(rgb):
    """Return mean color, height, width, and share of tissue."""
    tissue = cv2.blur(rgb, (129, 129)).min(axis=2) < 225
    return [*cv2.mean(rgb)[:3], *rgb.shape[:2], tissue.mean()]
