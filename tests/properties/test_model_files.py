"""Weights, TorchScript, features and splits: damaged files, in a process of their own where a library may crash."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import FiveError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import SPLITS
from pipelines.encoders.own_encoder import own_preset
from pipelines.inspect import inspect
from pipelines.model.data.splits.split_files import read_splits
from tests.damage import flips
from tests.properties.damage import damaged
from tests.properties.isolated import IsolatedReader
from tests.properties.readers import check_message, examples, reads_or_refuses
from tests.synthetic_features import write_bag

WEIGHTS = {"conv.weight": torch.zeros(2, 3), "conv.bias": torch.ones(2)}


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def write_features(path):
    write_bag(path.parent, path.stem, np.random.default_rng(0).normal(size=(20, 8)))


def write_foreign(path):
    with h5py.File(path, "w") as h5:
        h5["features"], h5["coords"] = np.ones((4, 8), "float32"), np.ones((4, 2), "int64")


FILES = {
    "a.safetensors": ("weights", lambda path: save_file(WEIGHTS, path)),
    "a.pt": ("weights", lambda path: torch.save(WEIGHTS, path)),
    "old.pt": ("weights", lambda path: torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)),
    "script.pt": ("torchscript", lambda path: torch.jit.script(torch.nn.ReLU()).save(path)),
    "a.h5": ("features", write_features),
    "foreign.h5": ("features", write_foreign),
}


@pytest.fixture(scope="module")
def isolated():
    reader = IsolatedReader("model_file", megabytes=2_000)
    yield reader
    reader.close()


@pytest.mark.parametrize("name", FILES)
def test_a_valid_file_is_read(tmp_path, isolated, name):
    kind, write = FILES[name]
    path = tmp_path / f"{kind}-{name}"
    write(path)
    message = isolated.read(path)
    assert ("no digest" in message) if name == "foreign.h5" else not message


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@examples(40)
def test_any_damage_gives_values_or_one_error(tmp_path, isolated, name, data):
    kind, write = FILES[name]
    path = tmp_path / f"{kind}-{name}"
    write(path)
    path.write_bytes(data.draw(st.binary(max_size=200) | damaged(path.read_bytes(), head=300)))
    isolated.read(path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_in_weights_never_runs(tmp_path, isolated, protocol):
    path, mark = tmp_path / "weights-a.pt", tmp_path / "ran"
    for content in (pickle.dumps({"a": Touch(mark)}, protocol), pickle.dumps(Touch(mark), protocol)):
        for other in (content, *flips(content, 60)):
            path.write_bytes(other)
            assert isolated.read(path)
    assert not mark.exists()


@given(
    text=st.text(max_size=60).map(str.encode) | st.binary(max_size=60) | damaged(b"class TileEncoder:\n    width = 3\n")
)
@examples(60)
def test_any_text_as_an_encoder_file_gives_one_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_bytes(text)
    assert reads_or_refuses(own_preset, path) is None


def test_a_damaged_feature_file_of_another_program_is_inspected_or_named(tmp_path):
    path = tmp_path / "foreign.h5"
    write_foreign(path)
    content = path.read_bytes()
    for other in (content[:700], *flips(content[:1_000] + content[1_000:], 2)):
        path.write_bytes(other)
        try:
            inspect(path)
        except FiveError as error:
            check_message(error.message)


@given(data=st.data())
@examples(80)
def test_a_damaged_table_of_splits_is_refused(tmp_path, data):
    path = tmp_path / "splits.parquet"
    slides = [CohortSlide(f"s{n}", patient_id=f"p{n}", label="ab"[n % 2]) for n in range(6)]
    names = ("train", "val", "test") * 2
    rows = [
        {"slide_id": slide.slide_id, "patient_id": slide.patient_id, "split": name, "learned_from": name == "train"}
        for slide, name in zip(slides, names, strict=True)
    ]
    SPLITS.write(path, rows, Provenance({}))
    expected = read_splits(path, slides)
    path.write_bytes(data.draw(st.binary(max_size=200) | damaged(path.read_bytes(), head=300)))
    assert reads_or_refuses(read_splits, path, slides) in (None, expected)
