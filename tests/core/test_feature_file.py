"""Feature files: whole or absent, as long as what was read, sampled without reading all."""

import h5py
import numpy as np
import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import (
    CoordsAttributes,
    FeatureInfo,
    feature_shape,
    feature_writer,
    features_current,
    read_bag,
    read_info,
    read_notes,
)
from pipelines.core.provenance import Provenance

INFO = FeatureInfo("a/b", "encoder", "f1", mpp_x=0.25, mpp_y=0.26, target_mpp=0.5)
ATTRIBUTES = CoordsAttributes(224, 448, 40.0, 20.0, 0, "a/b", 9000, 8000)
MADE = Provenance({"encoder": "encoder"}, "tiles-1", "1.0")


def rows_of(n):
    """Return features and corners in which row k is (k, k + 0.5) and (10 k, 20 k)."""
    k = np.arange(n)
    return np.stack([k, k + 0.5], axis=1).astype(np.float32), np.stack([10 * k, 20 * k], axis=1).astype(np.int64)


def write(path, batches, n_tiles, dtype="float32"):
    about = {"info": INFO, "coords_attributes": ATTRIBUTES, "provenance": MADE}
    with feature_writer(path, n_tiles=n_tiles, dim=2, dtype=dtype, **about) as writer:
        for features, corners in batches:
            writer.add(features, corners)
    return writer.rows


@pytest.fixture
def path(tmp_path):
    features, corners = rows_of(10)
    write(tmp_path / "a/b.h5", ((features[i : i + 4], corners[i : i + 4]) for i in (0, 4, 8)), 10)
    return tmp_path / "a/b.h5"


def test_what_was_written_in_batches_is_read_as_one_bag(path):
    bag, (features, corners) = read_bag(path), rows_of(10)
    assert np.array_equal(bag.features, features)
    assert np.array_equal(bag.coords, corners)
    assert (read_info(path), bag.tile_size_level0) == (INFO, 448)


def test_some_rows_are_read_without_the_others(path):
    bag = read_bag(path, np.array([1, 4, 9]))
    assert bag.coords.tolist() == [[10, 20], [40, 80], [90, 180]]
    assert bag.features.tolist() == [[1, 1.5], [4, 4.5], [9, 9.5]]


def test_a_file_is_as_long_as_what_came(tmp_path):
    features, corners = rows_of(6)
    assert write(tmp_path / "a.h5", [(features, corners)], n_tiles=20_000) == 6
    assert feature_shape(tmp_path / "a.h5") == (6, 2)
    assert np.array_equal(read_bag(tmp_path / "a.h5").coords, corners)
    assert (tmp_path / "a.h5").stat().st_size < 20_000  # nothing of the room for 20,000 rows is left


def test_a_slide_without_tiles_has_a_file_with_no_rows(tmp_path):
    write(tmp_path / "a.h5", [], n_tiles=0)
    assert feature_shape(tmp_path / "a.h5") == (0, 2)
    assert read_bag(tmp_path / "a.h5").coords.shape == (0, 2)


@pytest.mark.parametrize("before", [None, b"earlier"], ids=["new", "replacing"])
def test_a_failure_midway_leaves_the_folder_as_it_was(tmp_path, before):
    path = tmp_path / "a.h5"
    if before:
        path.write_bytes(before)

    def batches():
        yield rows_of(3)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write(path, batches(), n_tiles=6)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_features_are_stored_as_the_type_asked_for_in_one_piece(tmp_path):
    write(tmp_path / "a.h5", [rows_of(3)], n_tiles=3, dtype="float16")
    with h5py.File(tmp_path / "a.h5") as h5:
        assert h5["features"].dtype == np.float16
        assert h5["features"].chunks is None  # contiguous: random rows are read four times as fast


def test_a_file_is_current_for_the_same_work_only(path):
    assert features_current(path, MADE)
    assert not features_current(path, Provenance({"encoder": "another"}, "tiles-1"))
    assert not features_current(path, Provenance({"encoder": "encoder"}, "tiles-2"))
    path.write_bytes(path.read_bytes()[:400])
    assert not features_current(path, MADE)


def test_notes_may_come_while_rows_are_written(tmp_path):
    about = {"info": INFO, "coords_attributes": ATTRIBUTES, "provenance": MADE}
    with feature_writer(tmp_path / "a.h5", n_tiles=2, dim=2, dtype="float32", **about) as writer:
        writer.add(*rows_of(2))
        writer.notes["seen"] = str(writer.rows)
    assert read_notes(tmp_path / "a.h5")["seen"] == "2"


def test_what_is_missing_or_not_ours_is_named_with_a_remedy(tmp_path):
    with pytest.raises(ArtifactError, match="no such file") as caught:
        read_bag(tmp_path / "none.h5")
    assert "five embed" in caught.value.hint
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["feats"] = np.zeros((2, 2))
    with pytest.raises(ArtifactError, match=r"other\.h5: no 'features' and 'coords'"):
        read_bag(tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "a") as h5:
        h5["features"], h5["coords"] = np.zeros((2, 2)), np.zeros((2, 2))
    with pytest.raises(ArtifactError, match="attribute 'slide_id' is missing"):
        read_info(tmp_path / "other.h5")
