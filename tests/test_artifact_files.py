"""The files that a small run of all commands writes are exactly those that docs/artifacts.md describes."""

import csv
import json
import re
from dataclasses import replace

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

import pipelines.demo
import pipelines.predict
from fivecli.app import app
from pipelines.core.artifact_files import DIGEST, METADATA
from pipelines.core.artifact_folders import EVALUATION_FOLDER, FOLDERS, TILES_FOLDER
from pipelines.encoders.preset import TextPreset
from pipelines.findings import descriptions_report
from pipelines.synthetic.tissue import DrawnTissue
from tests.embedding import STAND_INS, use_stand_ins
from tests.slide_files import tissue_drawing
from tests.test_examples import EXAMPLES
from tests.text_towers import WordTower

BY_NAME = {folder.name: folder for folder in FOLDERS}
WITHOUT_RUN = "without-run"
"""Subfolder of the predictions with those made without a run."""
GROWTH = """
name: growth
title: Growth
questions:
  - id: growth
    question: How does it grow?
    prompt: growth
    kind: choice
    values: {glandular: {meaning: a, phrase: glands}, solid: {meaning: b, phrase: nests}}
"""
HDF5_KINDS = {str: "string", np.int64: "int64", np.float64: "float64"}


def five(*arguments, exit_code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output


def small_slide(*_):
    """Return tissue of 8 x 10 tiles of 112 pixels, two of which are black."""
    rgb = tissue_drawing(1024, 1280, [(112, 1008, 112, 1232)])
    rgb[224:336, 224:448] = 10
    return DrawnTissue(rgb, {})


def use_a_text_tower(patch):
    """Give the stand-in encoder a text tower, and return its name."""
    encoder = STAND_INS["mean-color"]
    preset = replace(encoder.preset, text=TextPreset("python", 99))
    patch.setattr(encoder, "preset", preset)
    words = ["glands", "nests", "keratin"]
    tower = WordTower(words, space=preset.space(encoder.fingerprint), dim=3, context_length=99)
    patch.setattr(pipelines.predict, "find_preset", lambda _: preset)
    patch.setattr(pipelines.predict, "load_text_tower", lambda *_, **__: tower)
    return preset.name


def add_a_broken_slide(cohort):
    (cohort / "slides" / "broken.svs").write_bytes(b"not a slide")
    table = (cohort / "cohort.csv").read_text()
    path = cohort.parent / "with_broken.csv"
    path.write_text(table.replace("slides/", "cohort/slides/") + "broken,cohort/slides/broken.svs,P999,glandular\n")
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny_bert):
    """Return a folder with the output of every command, each with the options that write optional files."""
    root = tmp_path_factory.mktemp("all")
    model = ("--text-model", tiny_bert, "--width", 64, "--diagnosis-prompts", 2, "--prompt-tokens", 2, "--epochs", 1)
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        encoder = use_a_text_tower(patch)
        patch.setattr(pipelines.demo, "draw_slide", small_slide)
        patch.setattr(descriptions_report, "REPORTS_PER_PAGE", 4)
        five("demo", "cohort", "-o", root / "cohort", "--patients", 8)
        cohort = add_a_broken_slide(root / "cohort")
        reports, descriptions = root / "cohort" / "reports.csv", root / "descriptions"
        five("tile", cohort, "-o", root / "tiles", "--tile-size", 112, exit_code=3)
        (root / "cohort" / "slides" / "broken.svs").unlink()
        five("embed", root / "tiles", "-o", root / "features", "--encoder", encoder, "--save-patches", "jpg")
        describe = ("describe-reports", reports, "-o", descriptions, "--questions", "lung")
        five(*describe, "--shard", "1/2")
        five(*describe, "--html")
        inputs = ("--cohort", cohort, "--descriptions", descriptions, "--classes", EXAMPLES / "demo-classes.yaml")
        five("train", root / "features", "--regime", "finetune", *inputs, *model, "--tensorboard", "-o", root / "run")
        five("predict", root / "features", "--run", root / "run", "--heatmaps", "-o", root / "predictions")
        (root / "growth.yaml").write_text(GROWTH)
        texts = ("--classes", EXAMPLES / "demo-classes.yaml", "--questions", root / "growth.yaml")
        five("predict", root / "features", *texts, "-o", root / "predictions" / WITHOUT_RUN)
        for name in ("metrics.csv", "metrics.parquet"):
            gold = ("--gold", root / "cohort" / "truth.csv", "--resamples", 9)
            five("evaluate-descriptions", descriptions, *gold, "-o", root / "evaluation" / name)
    return root


def files_of(root, name):
    """Return the files in an output folder, as paths relative to it."""
    paths = (path.relative_to(root / name).as_posix() for path in (root / name).rglob("*") if path.is_file())
    return [path for path in paths if not path.startswith(WITHOUT_RUN)]


def described(root, folder):
    """Yield each file of a folder with its description."""
    for place in (folder.name, f"{folder.name}/{WITHOUT_RUN}"):
        for name in files_of(root, place):
            (file,) = folder.files_for(name)
            yield root / place / name, file


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_every_file_has_exactly_one_description(root, name):
    written = files_of(root, name)
    assert written
    for path in written:
        assert len(BY_NAME[name].files_for(path)) == 1, path


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_every_description_belongs_to_a_file(root, name):
    """Except for files that exist only during a run, and for failures, which this run has in tiles/ only."""
    found = {file.pattern for _, file in described(root, BY_NAME[name])}
    expected = {file.pattern for file in BY_NAME[name].files if not file.temporary}
    if name != TILES_FOLDER.name:
        expected = {pattern for pattern in expected if not pattern.startswith("errors/")}
    assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=BY_NAME)
def test_columns_and_metadata_of_tables_are_those_described(root, folder):
    common = {entry.name for entry in (*METADATA, DIGEST)}
    missing = {prefix for file in folder.files if file.table for prefix in file.table.families or ()}
    for path, file in described(root, folder):
        if file.table is None:
            continue
        schema = pq.read_schema(path)
        families = tuple(file.table.families or ())
        named = [field.name for field in schema if not families or not field.name.startswith(families)]
        assert named == [field.name for field in file.table.columns], path
        missing -= {prefix for prefix in families if any(field.name.startswith(prefix) for field in schema)}
        assert {key.decode() for key in schema.metadata} == common | {entry.name for entry in file.metadata}, path
    assert missing == set()


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=BY_NAME)
def test_datasets_and_attributes_of_hdf5_files_are_those_described(root, folder):
    common = {entry.name for entry in METADATA}
    for path, file in described(root, folder):
        if file.hdf5 is None:
            continue
        with h5py.File(path) as h5:
            assert set(h5) == {dataset.name for dataset in file.hdf5.datasets}, path
            assert set(h5.attrs) == common | {entry.name for entry in file.hdf5.attributes}, path
            assert_attributes(h5, file.hdf5.attributes)
            for dataset in file.hdf5.datasets:
                assert set(h5[dataset.name].attrs) == {entry.name for entry in dataset.attributes}, path
                assert_attributes(h5[dataset.name], dataset.attributes)
                assert dataset.kind.startswith(("(P,)", "(N,)", "(K,)", "(S,)")) == (h5[dataset.name].ndim == 1), path


def assert_attributes(node, entries):
    for entry in entries:
        assert HDF5_KINDS[type(node.attrs[entry.name])] == entry.kind, entry.name


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=BY_NAME)
def test_columns_of_csv_files_and_keys_are_those_described(root, folder):
    for path, file in described(root, folder):
        if file.entries:
            assert names_in(path) == [entry.name for entry in file.entries], path


def names_in(path):
    """Return the columns of a CSV file, or the top-level keys of a JSON or YAML file."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as stream:
            return next(csv.reader(stream))
    text = path.read_text(encoding="utf-8")
    return list(json.loads(text) if path.suffix == ".json" else yaml.safe_load(text))


@pytest.mark.slow
def test_the_parquet_table_of_an_evaluation_has_the_columns_of_the_csv_file(root):
    (described_csv,) = EVALUATION_FOLDER.files_for("metrics.csv")
    names = [entry.name for entry in described_csv.entries]
    assert pq.read_schema(root / "evaluation" / "metrics.parquet").names == names


@pytest.mark.parametrize("folder", FOLDERS, ids=BY_NAME)
def test_patterns_of_a_folder_differ_and_find_themselves(folder):
    for file in folder.files:
        example = re.sub(r"<\w+>", "a/b", file.pattern)
        assert folder.files_for(example) == [file]


def test_a_slide_id_with_a_dot_is_not_taken_for_another_file():
    assert [file.pattern for file in TILES_FOLDER.files_for("qc/a.v2.jpg")] == ["qc/<slide_id>.jpg"]
    assert [file.pattern for file in TILES_FOLDER.files_for("slides.parquet")] == ["slides.parquet"]
    assert TILES_FOLDER.files_for("notes.docx") == []
