"""Feature files: atomic writing, shortening, and reading of some rows."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import (
    CoordsAttributes,
    FeatureHeader,
    FeatureInfo,
    check_all_rows,
    content_fingerprint,
    features_current,
    read_bag,
    read_header,
    read_info,
    read_notes,
)
from pipelines.core.feature_writer import feature_writer
from pipelines.core.provenance import Provenance

INFO = FeatureInfo("a/b", "encoder", "f1", mpp_x=0.25, mpp_y=0.26, target_mpp=0.5)
ATTRIBUTES = CoordsAttributes(224, 448, 40.0, 20.0, 0, "a/b", 9000, 8000)
MADE = Provenance({"encoder": "encoder"}, "tiles-1", "1.0")


def rows_of(n):
    """Return features and corners with the rows (k, k + 0.5) and (10 k, 20 k)."""
    k = np.arange(n)
    return np.stack([k, k + 0.5], axis=1).astype(np.float32), np.stack([10 * k, 20 * k], axis=1).astype(np.int64)


def write(path, batches, n_tiles, dtype="float32"):
    metadata = {"info": INFO, "coords_attributes": ATTRIBUTES, "provenance": MADE}
    with feature_writer(path, n_tiles=n_tiles, dim=2, dtype=dtype, **metadata) as writer:
        for features, corners in batches:
            writer.add(features, corners)
    return writer.rows


@pytest.fixture
def path(tmp_path):
    features, corners = rows_of(10)
    write(tmp_path / "a/b.h5", ((features[i : i + 4], corners[i : i + 4]) for i in (0, 4, 8)), 10)
    return tmp_path / "a/b.h5"


def test_batches_are_read_back_as_one_bag(path):
    bag, (features, corners) = read_bag(path), rows_of(10)
    assert np.array_equal(bag.features, features)
    assert np.array_equal(bag.coords, corners)
    assert (read_info(path), bag.tile_size_level0) == (INFO, 448)


def test_the_header_is_read_without_the_hdf5_library(path, monkeypatch):
    with h5py.File(path) as h5:  # what other programs read is the same
        assert (h5["features"].shape, h5["coords"].attrs["patch_size"], h5.attrs["slide_id"]) == ((10, 2), 224, "a/b")
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("opened by the HDF5 library"))
    assert read_header(path) == FeatureHeader(n_tiles=10, dim=2, tile_size=224, info=INFO)


@pytest.mark.parametrize("text", ["x" * 250, "\u00e4" * 125, "\u5b57" * 83], ids=["ascii", "umlauts", "chinese"])
def test_the_longest_ids_fit_into_the_header(tmp_path, text):
    info = replace(INFO, slide_id=text, encoder="/" + text * 15)
    metadata = {"coords_attributes": ATTRIBUTES, "provenance": MADE}
    with feature_writer(tmp_path / "a.h5", n_tiles=0, dim=2, dtype="float32", info=info, **metadata):
        pass
    assert read_info(tmp_path / "a.h5") == info


def test_selected_rows_are_read(path):
    bag = read_bag(path, np.array([1, 4, 9]))
    assert bag.coords.tolist() == [[10, 20], [40, 80], [90, 180]]
    assert bag.features.tolist() == [[1, 1.5], [4, 4.5], [9, 9.5]]


def test_a_file_has_as_many_rows_as_were_written(tmp_path):
    features, corners = rows_of(6)
    assert write(tmp_path / "a.h5", [(features, corners)], n_tiles=20_000) == 6
    assert read_header(tmp_path / "a.h5").n_tiles == 6
    assert np.array_equal(read_bag(tmp_path / "a.h5").coords, corners)
    assert (tmp_path / "a.h5").stat().st_size < 20_000  # no space is left for 20,000 rows


def test_a_slide_without_tiles_has_a_file_with_no_rows(tmp_path):
    write(tmp_path / "a.h5", [], n_tiles=0)
    assert (read_header(tmp_path / "a.h5").n_tiles, read_header(tmp_path / "a.h5").dim) == (0, 2)
    assert read_bag(tmp_path / "a.h5").coords.shape == (0, 2)


@pytest.mark.parametrize("earlier", [None, b"earlier"], ids=["new", "replacing"])
def test_a_failed_write_leaves_the_folder_unchanged(tmp_path, earlier):
    path = tmp_path / "a.h5"
    if earlier:
        path.write_bytes(earlier)

    def batches():
        yield rows_of(3)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        write(path, batches(), n_tiles=6)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == ([earlier] if earlier else [])


def test_features_are_stored_contiguously_in_the_requested_dtype(tmp_path):
    write(tmp_path / "a.h5", [rows_of(3)], n_tiles=3, dtype="float16")
    with h5py.File(tmp_path / "a.h5") as h5:
        assert h5["features"].dtype == np.float16
        assert h5["features"].chunks is None  # contiguous, so random rows are read four times faster


def test_other_programs_read_the_file_as_usual(path):
    with h5py.File(path, "r") as h5:
        assert h5["features"][:].tolist() == rows_of(10)[0].tolist()
        assert h5["coords"].attrs["patch_size_level0"] == 448


def test_features_are_rounded_to_the_type_of_the_file(tmp_path):
    features, corners = rows_of(4)
    write(tmp_path / "a.h5", [(features / 3, corners)], n_tiles=4, dtype="float16")
    assert np.array_equal(read_bag(tmp_path / "a.h5").features, (features / 3).astype(np.float16))


def change(path, name, row):
    """Change a value in a file, as a bad disk does, and leave the rest of the file unchanged."""
    with h5py.File(path, "r") as h5:
        dataset = h5[name]
        position = dataset.id.get_offset() + row * dataset.dtype.itemsize * dataset.shape[1]
    with path.open("rb+") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("name", ["features", "coords"])
def test_a_damaged_row_is_noticed_when_it_is_read(path, name):
    change(path, name, row=4)
    assert read_bag(path, np.array([1, 3, 5])).coords.tolist() == [[10, 20], [30, 60], [50, 100]]
    for rows in (None, np.array([1, 4])):
        with pytest.raises(ArtifactError, match=r"b\.h5: damaged.*1 of (10|2) rows do not match") as caught:
            read_bag(path, rows)
        assert caught.value.hint == "delete it and run `five embed` again"
    assert not features_current(path, MADE)


def test_a_damaged_row_among_many_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.core.row_checksums.ROWS_AT_A_TIME", 4)
    write(tmp_path / "a.h5", [rows_of(10)], n_tiles=10)
    check_all_rows(tmp_path / "a.h5")
    change(tmp_path / "a.h5", "features", row=9)
    with pytest.raises(ArtifactError, match="1 of 2 rows"):
        check_all_rows(tmp_path / "a.h5")


def test_rows_beyond_the_end_are_an_error(path):
    with pytest.raises(ArtifactError, match="IndexError"):
        read_bag(path, np.array([3, 10]))


def fingerprint_of(path, batches, *, n_tiles=6, dtype="float32", info=INFO, attributes=ATTRIBUTES, made=MADE):
    metadata = {"info": info, "coords_attributes": attributes, "provenance": made}
    with feature_writer(path, n_tiles=n_tiles, dim=2, dtype=dtype, **metadata) as writer:
        for features, corners in batches:
            writer.add(features, corners)
    return content_fingerprint(path)


def test_the_content_fingerprint_depends_on_the_values_only(tmp_path):
    features, corners = rows_of(6)
    expected = fingerprint_of(tmp_path / "a.h5", [(features, corners)])
    parts = [(features[:4], corners[:4]), (features[4:], corners[4:])]
    same = (
        {"batches": parts},
        {"batches": parts, "n_tiles": 900},
        {"info": replace(INFO, slide_id="b", mpp_x=0.1)},
        {"attributes": replace(ATTRIBUTES, name="b", level0_width=1)},
        {"made": Provenance({"seed": 3}, "tiles-9", "2.0")},
    )
    for k, changes in enumerate(same):
        assert fingerprint_of(tmp_path / f"{k}.h5", **{"batches": [(features, corners)], **changes}) == expected
    different = (
        {"batches": [(features + 1, corners)]},
        {"batches": [(features, corners + 1)]},
        {"batches": parts[:1]},
        {"dtype": "float16"},
        {"info": replace(INFO, encoder_fingerprint="f2")},
        {"info": replace(INFO, target_mpp=1.0)},
        {"attributes": replace(ATTRIBUTES, patch_size_level0=512)},
    )
    for k, changes in enumerate(different):
        assert fingerprint_of(tmp_path / f"{k}.h5", **{"batches": [(features, corners)], **changes}) != expected


def test_a_file_is_current_only_for_the_same_settings_and_input(path):
    assert features_current(path, MADE)
    assert not features_current(path, Provenance({"encoder": "another"}, "tiles-1"))
    assert not features_current(path, Provenance({"encoder": "encoder"}, "tiles-2"))
    path.write_bytes(path.read_bytes()[:400])
    assert not features_current(path, MADE)


def test_notes_can_be_added_while_rows_are_written(tmp_path):
    metadata = {"info": INFO, "coords_attributes": ATTRIBUTES, "provenance": MADE}
    with feature_writer(tmp_path / "a.h5", n_tiles=2, dim=2, dtype="float32", **metadata) as writer:
        writer.add(*rows_of(2))
        writer.notes["seen"] = str(writer.rows)
    assert read_notes(tmp_path / "a.h5")["seen"] == "2"


def test_missing_and_foreign_files_are_refused_with_a_hint(tmp_path):
    with pytest.raises(ArtifactError, match="no such file") as caught:
        read_bag(tmp_path / "none.h5")
    assert "five embed" in caught.value.hint
    with h5py.File(tmp_path / "other.h5", "w") as h5:
        h5["feats"] = np.zeros((2, 2))
    with pytest.raises(ArtifactError, match=r"other\.h5: no digest; an earlier version of five or another") as caught:
        read_bag(tmp_path / "other.h5")
    assert "five embed" in caught.value.hint
