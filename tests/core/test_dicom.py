"""The series of hand-made DICOM files."""

import pytest

from pipelines.core.cohort import read_cohort
from pipelines.core.dicom import series_uid
from tests.core.dicom_files import EXPLICIT, IMPLICIT, UID_ROOT, write_dicom


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT], ids=["explicit", "implicit"])
def test_the_series_is_found_after_sequences_that_contain_another_one(tmp_path, syntax):
    assert series_uid(write_dicom(tmp_path / "a.dcm", f"{UID_ROOT}.1", syntax=syntax)) == f"{UID_ROOT}.1"


def test_a_file_without_a_series_has_none(tmp_path):
    assert series_uid(write_dicom(tmp_path / "a.dcm", None)) is None


def test_a_file_cut_anywhere_before_its_series_has_none(tmp_path):
    whole = write_dicom(tmp_path / "a.dcm", f"{UID_ROOT}.1").read_bytes()
    end = whole.index(f"{UID_ROOT}.1".encode())
    for length in range(0, end, 7):
        (tmp_path / "cut.dcm").write_bytes(whole[:length])
        assert series_uid(tmp_path / "cut.dcm") is None
    assert series_uid(tmp_path / "gone.dcm") is None


def test_the_files_of_a_series_are_one_slide_per_folder(tmp_path):
    for name in ("one/level0", "one/level1", "one/label", "two/level0"):
        write_dicom(tmp_path / f"{name}.dcm", f"{UID_ROOT}.1")
    write_dicom(tmp_path / "one" / "other.dcm", f"{UID_ROOT}.2")
    (tmp_path / "one" / "damaged.dcm").write_bytes(b"not DICOM")
    ids = [slide.slide_id for slide in read_cohort(tmp_path)]
    assert ids == ["one/damaged", "one/label", "one/other", "two/level0"]
