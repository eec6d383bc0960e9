"""Files that belong to a slide, and the fingerprint of all of them."""

import pytest

from pipelines.core.files import file_fingerprint
from pipelines.slides.slide_files import slide_files, slide_fingerprint
from tests.core.dicom_files import UID_ROOT, write_dicom


@pytest.fixture
def mirax(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").write_bytes(b"preview")
    for name in ("Slidedat.ini", "Data0000.dat", "Index.dat"):
        (tmp_path / "a" / name).write_bytes(b"x" * 10)
    return tmp_path / "a.mrxs"


def names(path):
    return [file.relative_to(path.parent).as_posix() for file in slide_files(path)]


def test_most_slides_are_one_file(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"pixels")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.dat").touch()
    assert names(tmp_path / "a.svs") == ["a.svs"]
    assert slide_fingerprint(tmp_path / "a.svs") == file_fingerprint(tmp_path / "a.svs")


def test_a_mirax_slide_has_a_folder_with_its_name(mirax):
    assert names(mirax) == ["a.mrxs", "a/Data0000.dat", "a/Index.dat", "a/Slidedat.ini"]


def test_a_hamamatsu_index_lists_the_other_files(tmp_path):
    index = "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\nImageFile(1,0)=a(1,0).jpg\nMapFile=gone.jpg\n"
    (tmp_path / "a.vms").write_text(index)
    for name in ("a.jpg", "a(1,0).jpg", "other.jpg"):
        (tmp_path / name).touch()
    assert names(tmp_path / "a.vms") == ["a.vms", "a(1,0).jpg", "a.jpg"]


def test_a_dicom_slide_consists_of_the_files_of_its_series(tmp_path):
    for name, series in (("b", 1), ("a", 1), ("c", 2), ("c2", 2), ("d", 1)):
        write_dicom(tmp_path / f"{name}.dcm", f"{UID_ROOT}.{series}")
    assert names(tmp_path / "b.dcm") == ["b.dcm", "a.dcm", "d.dcm"]


def test_a_changed_file_changes_the_fingerprint(mirax):
    before = slide_fingerprint(mirax)
    assert slide_fingerprint(mirax) == before
    (mirax.with_suffix("") / "Data0000.dat").write_bytes(b"x" * 11)
    assert slide_fingerprint(mirax) != before
