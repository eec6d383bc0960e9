import h5py
import numpy as np
import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.model.data.feature_cohort import read_feature_cohort
from pipelines.model.data.feature_kind import FeatureKind
from tests.synthetic_features import DIM, PROVENANCE, list_slide, write_bag

KIND = FeatureKind(DIM, "toy", "0123", 224, 0.5)


def write_slides(folder, n):
    """Write feature files of ``n`` slides with 5 tiles each, and the table of `five embed`."""
    rows = []
    for number in range(n):
        write_bag(folder, f"s{number}", np.ones((5, DIM)))
        rows.append({"slide_id": f"s{number}", "status": "ok", "n_tiles": 5})
    EMBEDDED_SLIDES.write(folder / "slides.parquet", rows, PROVENANCE)


@pytest.fixture
def features(tmp_path):
    write_slides(tmp_path, 4)
    return tmp_path


def rewritten(change):
    """Return a function that changes the open HDF5 file of slide s1."""

    def damage(folder):
        with h5py.File(folder / "s1.h5", "a") as h5:
            change(h5)

    return damage


def replace_dataset(name, values):
    def change(h5):
        attributes = dict(h5[name].attrs)
        del h5[name]
        h5[name] = values
        h5[name].attrs.update(attributes)

    return rewritten(change)


DAMAGES = {
    "empty": lambda folder: (folder / "s1.h5").write_bytes(b""),
    "text": lambda folder: (folder / "s1.h5").write_text("slide_id,x\n"),
    "a folder": lambda folder: ((folder / "s1.h5").unlink(), (folder / "s1.h5").mkdir()),
    "truncated": lambda folder: (folder / "s1.h5").write_bytes((folder / "s1.h5").read_bytes()[:-1000]),
    "no features": rewritten(lambda h5: h5.__delitem__("features")),
    "a group": rewritten(lambda h5: (h5.__delitem__("features"), h5.create_group("features"))),
    "shape (1, N, D)": replace_dataset("features", np.ones((1, 5, DIM), np.float16)),
    "shape (N,)": replace_dataset("features", np.ones(5, np.float16)),
    "a single number": replace_dataset("features", np.float32(1)),
    "integers": replace_dataset("features", np.ones((5, DIM), np.int32)),
    "text values": replace_dataset("features", [["a"] * DIM] * 5),
    "fewer coords": replace_dataset("coords", np.zeros((4, 2), np.int64)),
    "coords with fractions": replace_dataset("coords", np.zeros((5, 2))),
    "no encoder": rewritten(lambda h5: h5.attrs.__delitem__("encoder")),
    "a resolution that is no number": rewritten(lambda h5: h5.attrs.__setitem__("target_mpp", "half")),
    "no tile size": rewritten(lambda h5: h5["coords"].attrs.__delitem__("patch_size")),
    "no tile size at level 0": rewritten(lambda h5: h5["coords"].attrs.__delitem__("patch_size_level0")),
    "a list of tile sizes": rewritten(lambda h5: h5["coords"].attrs.__setitem__("patch_size", [1, 2])),
    "no tiles": lambda folder: (write_bag(folder, "s1", np.ones((0, DIM))), list_slide(folder, "s1", status="ok")),
    "tiles of a slide that is listed as empty": lambda folder: list_slide(folder, "s1", status="empty"),
    "fewer tiles than listed": lambda folder: list_slide(folder, "s1", n_tiles=9),
    "another slide": lambda folder: (folder / "s1.h5").write_bytes((folder / "s2.h5").read_bytes()),
    "another encoder": lambda folder: write_bag(folder, "s1", np.ones((5, DIM)), encoder="other", fingerprint="99"),
    "another width": lambda folder: write_bag(folder, "s1", np.ones((5, DIM + 1))),
    "another tile size": lambda folder: write_bag(folder, "s1", np.ones((5, DIM)), tile_size=256),
    "another resolution": lambda folder: write_bag(folder, "s1", np.ones((5, DIM)), mpp=1.0),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_bad_file_is_set_aside_for_a_trained_model_and_refused_for_training(features, damage):
    damage(features)
    cohort = read_feature_cohort(features, None, trained_on=KIND)
    assert list(cohort.bags) == ["s0", "s2", "s3"]
    assert [slide.slide_id for slide in cohort.slides] == ["s0", "s1", "s2", "s3"]
    (error,) = cohort.unusable.values()
    with pytest.raises(ArtifactError) as refused:
        read_feature_cohort(features, None)
    assert "\n" not in error.message
    for message in (error.message, refused.value.message):
        assert message.startswith(f"{features / 's1.h5'}: ")
    assert error.hint
    assert refused.value.hint


def test_several_bad_files_are_counted_and_the_first_are_named(features):
    for number in (0, 2, 3):
        (features / f"s{number}.h5").write_bytes(b"")
    write_bag(features, "s4", np.ones((5, DIM)))
    write_bag(features, "s5", np.ones((5, DIM)))
    write_bag(features, "s6", np.ones((5, DIM)), mpp=1.0)
    with pytest.raises(
        ArtifactError, match=r"4 of 7 feature files cannot be used: .*s0.h5: .*s2.h5.*s3.h5.*and 1 more"
    ):
        read_feature_cohort(features, None)


def test_features_of_another_kind_than_the_model_needs_are_refused_if_all_slides_have_them(features):
    with pytest.raises(ArtifactError, match=r"features of toy .*at 0.5 .* but the run was trained on .*at 1 microns"):
        read_feature_cohort(features, None, trained_on=FeatureKind(DIM, "toy", "0123", 224, 1.0))


def test_the_name_of_the_encoder_may_differ_if_its_weights_do_not(features):
    write_bag(features, "s1", np.ones((5, DIM)), encoder="toy from a file")
    assert len(read_feature_cohort(features, None).bags) == 4


def test_only_slides_that_the_table_lists_as_usable_are_used_and_the_others_are_counted(features):
    list_slide(features, "s0", status="failed", n_tiles=None)
    list_slide(features, "s1", status="empty")
    write_bag(features, "s1", np.ones((0, DIM)))
    (features / "s2.h5").rename(features / "left-over.h5")
    (features / "encoder").mkdir()
    EMBEDDED_SLIDES.write(features / "encoder" / "slides.parquet", [], PROVENANCE)
    (features / "encoder" / "s9.h5").write_bytes(b"")  # a file of another folder
    cohort = read_feature_cohort(features, None)
    assert list(cohort.bags) == ["s3"]
    assert cohort.left_out() == {
        "slides_without_features": 1,
        "slides_that_five_embed_failed_on": 1,
        "slides_without_tiles": 1,
        "feature_files_not_in_slides_parquet": 1,
    }


def test_a_slide_of_the_cohort_that_the_table_does_not_list_has_no_features(features, tmp_path):
    rows = EMBEDDED_SLIDES.read_rows(features / "slides.parquet")
    EMBEDDED_SLIDES.write(features / "slides.parquet", rows[:2], PROVENANCE)
    (tmp_path / "cohort.csv").write_text("slide_id\ns0\ns2\n")
    cohort = read_feature_cohort(features, tmp_path / "cohort.csv")
    assert list(cohort.bags) == ["s0"]
    assert cohort.left_out() == {"slides_without_features": 1, "feature_files_not_in_slides_parquet": 2}


def recorded(features):
    cohort = read_feature_cohort(features, None)
    return cohort.record(cohort.bags)


def test_the_fingerprint_of_the_features_changes_with_a_value_and_not_with_the_time(features):
    before = recorded(features)
    write_bag(features, "s1", np.ones((5, DIM)))
    assert recorded(features) == before
    write_bag(features, "s1", np.full((5, DIM), 2.0))  # of the same size
    assert recorded(features) != before


def test_no_file_is_opened_with_the_hdf5_library(features, monkeypatch):
    """This counts for 100,000 slides: the record of a file says all that is needed."""
    monkeypatch.setattr(h5py, "File", lambda *_: pytest.fail("opened by the HDF5 library"))
    assert len(read_feature_cohort(features, None).bags) == 4
