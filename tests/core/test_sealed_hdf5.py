"""HDF5 files with a digest: every damage is noticed before the HDF5 library opens the file."""

import h5py
import numpy as np
import pytest

from pipelines.core.attention_file import ATTENTION, AttentionMaps, read_attention, write_attention
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import FEATURES, content_fingerprint, read_bag, read_header
from pipelines.core.provenance import Provenance
from pipelines.core.sealed_hdf5 import BLOCK, Hdf5Artifact
from tests.synthetic_features import write_bag

MAPS = AttentionMaps(np.array([[0.25, 0.75]]), ["growth"], np.array([[0, 0], [448, 0]]), 448, np.zeros((0, 2)), [])


@pytest.fixture
def path(tmp_path):
    write_attention(tmp_path / "a.h5", MAPS, Provenance({"heatmaps": False}))
    return tmp_path / "a.h5"


def test_attention_is_read_back(path):
    maps = read_attention(path)
    assert (maps.prompts, maps.tile_size_level0, maps.coords.tolist()) == (["growth"], 448, [[0, 0], [448, 0]])
    assert np.array_equal(maps.weights, MAPS.weights)


def test_the_user_block_is_a_line_of_text(path):
    block = path.read_bytes()[:BLOCK].decode()
    assert block.startswith('{"artifact": "attention", "version": 4, ')
    assert block.endswith(" \n")


def test_every_damage_is_noticed_before_the_file_is_opened(path, monkeypatch):
    content = path.read_bytes()
    damaged = [content[:n] for n in (0, 1, 100, BLOCK, BLOCK + 8, len(content) - 1)] + [content + b"\0"]
    for bit in range(0, 8 * len(content), 101):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("opened by the HDF5 library"))
    for other in damaged:
        path.write_bytes(other)
        with pytest.raises(ArtifactError, match=r"a\.h5: damaged, or changed by another program") as caught:
            read_attention(path)
        assert caught.value.hint == "delete it and run `five predict` again"


FOREIGN = {
    "a file of TRIDENT": {"features": (5, 3), "coords": (5, 2)},
    "a file with a batch dimension": {"features": (1, 5, 3), "coords": (1, 5, 2)},
    "attention of an earlier version": {"attention": (1, 5), "coords": (5, 2)},
    "an empty HDF5 file": {},
}


@pytest.mark.parametrize("shapes", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("read", [read_bag, read_header, content_fingerprint, read_attention])
def test_files_of_other_programs_and_versions_are_refused(tmp_path, read, shapes):
    with h5py.File(tmp_path / "a.h5", "w") as h5:
        for name, shape in shapes.items():
            h5[name] = np.zeros(shape)
    with pytest.raises(ArtifactError, match="no digest; an earlier version of five or another program") as caught:
        read(tmp_path / "a.h5")
    assert "again" in caught.value.hint


def test_a_file_that_another_program_changed_is_refused(path):
    with h5py.File(path, "r+") as h5:
        h5.attrs["note"] = "changed"
    with pytest.raises(ArtifactError, match="changed by another program"):
        read_attention(path)


def test_a_file_of_another_kind_is_refused(path):
    with pytest.raises(ArtifactError, match="this is the file 'attention'"):
        read_bag(path)


@pytest.mark.parametrize(("version", "hint"), [(1, "run `five predict` again"), (5, "update five-wsi")])
def test_a_file_of_another_version_is_refused(path, version, hint):
    Hdf5Artifact("attention", "five predict", version).seal(path)
    with pytest.raises(ArtifactError, match=f"version {version} of 'attention', but this program reads") as caught:
        read_attention(path)
    assert caught.value.hint == hint


WRONG_LAYOUTS = {
    "batch dimension": {"features": (1, 5, 3), "coords": (5, 2)},
    "coords in 3D": {"features": (5, 3), "coords": (5, 3)},
    "fewer coords": {"features": (5, 3), "coords": (4, 2)},
    "no coords": {"features": (5, 3)},
}


@pytest.mark.parametrize("shapes", WRONG_LAYOUTS.values(), ids=WRONG_LAYOUTS)
def test_a_sealed_file_with_another_layout_is_refused(tmp_path, shapes):
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=BLOCK) as h5:
        h5["row_checksums"] = np.zeros(5, np.uint32)
        for name, shape in shapes.items():
            h5[name] = np.zeros(shape)
    Hdf5Artifact("features", "five embed", FEATURES.version).seal(tmp_path / "a.h5", fingerprint="0")
    for read in (read_bag, read_header):
        with pytest.raises(ArtifactError, match="damaged, or changed by another program"):
            read(tmp_path / "a.h5")


@pytest.mark.parametrize("dataset", ["attention", "contributions", "similarities"])
def test_a_sealed_attention_file_whose_rows_do_not_fit_the_names_is_refused(path, dataset):
    with h5py.File(path, "a") as h5:
        shape = h5[dataset].shape
        del h5[dataset]
        h5[dataset] = np.zeros((shape[0] + 1, shape[1]))
    ATTENTION.seal(path)
    with pytest.raises(ArtifactError, match="damaged, or changed by another program"):
        read_attention(path)


def test_missing_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no such file") as caught:
        read_attention(tmp_path / "none.h5")
    assert caught.value.hint == "run `five predict` first; it writes this file"
    with pytest.raises(ArtifactError, match="Is a directory"):
        read_attention(tmp_path)


def test_a_file_that_is_replaced_while_it_is_opened_is_checked_again(tmp_path, monkeypatch):
    path = tmp_path / "s.h5"
    write_bag(tmp_path, "s", np.ones((7, 2)))
    write_bag(tmp_path / "later", "s", np.zeros((900, 2)))

    class Replacing(h5py.File):
        def __init__(self, *arguments, **options):
            if (tmp_path / "later" / "s.h5").exists():
                (tmp_path / "later" / "s.h5").replace(path)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(h5py, "File", Replacing)
    assert read_bag(path, np.arange(0, 900, 3)).features.tolist() == [[0, 0]] * 300


def test_reading_attention_checks_all_bytes(path):
    assert ATTENTION.record(path)["bulk"] == {}
