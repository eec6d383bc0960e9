"""Local copies of slides are made before they are needed, few at a time, and always deleted."""

import multiprocessing
import os
import shutil
import signal
from collections import namedtuple

import pytest

from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, MissingMppError, SlideError
from pipelines.slides.local_copies import IN_PLACE, CopiesAhead, local_copies


@pytest.fixture
def slide(tmp_path):
    path = tmp_path / "slow" / "a.svs"
    path.parent.mkdir()
    path.write_bytes(b"pixels")
    return path


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_copy_has_the_name_and_content_of_its_slide_until_it_is_dropped(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies:
        copy = copies.fetch(slide, "a")
        assert (copy.name, copy.read_bytes()) == ("a.svs", b"pixels")
        assert tmp_path / "fast" in copy.parents
        assert copies.fetch(slide, "a") == copy
        copies.drop("a")
        assert files(tmp_path / "fast") == []
        assert slide.exists()


def test_slides_with_the_same_file_name_have_separate_copies(slide, tmp_path):
    other = tmp_path / "a.svs"
    other.write_bytes(b"other pixels")
    with local_copies(tmp_path / "fast") as copies:
        assert copies.fetch(slide, "a").read_bytes() == b"pixels"
        assert copies.fetch(other, "b").read_bytes() == b"other pixels"


def test_two_ids_with_the_same_file_have_separate_copies(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies:
        first, second = copies.fetch(slide, "a"), copies.fetch(slide, "b")
        copies.drop("a")
        assert not first.exists()
        assert second.read_bytes() == b"pixels"


def test_all_files_of_a_slide_are_copied(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixels")
    with local_copies(tmp_path / "fast") as copies:
        copy = copies.fetch(tmp_path / "a.mrxs", "a")
        assert (copy.parent / "a" / "Data0000.dat").read_bytes() == b"pixels"


def test_without_a_folder_slides_are_not_copied(slide):
    IN_PLACE.drop("a")
    assert IN_PLACE.fetch(slide, "a") == slide
    assert slide.exists()


def test_copies_are_deleted_after_an_error(slide, tmp_path):
    with pytest.raises(ZeroDivisionError), local_copies(tmp_path / "fast") as copies, copies.local(slide, "a"):
        raise ZeroDivisionError
    assert list((tmp_path / "fast").iterdir()) == []


def test_an_error_about_the_copy_names_the_slide(slide, tmp_path):
    with (
        local_copies(tmp_path / "fast") as copies,
        pytest.raises(MissingMppError) as raised,
        copies.local(slide, "a") as copy,
    ):
        raise MissingMppError(copy)
    assert raised.value.message == f"{slide}: no microns per pixel (mpp) in the file"


def test_too_little_free_space_is_a_slide_error_that_names_slide_and_folder(slide, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    with local_copies(tmp_path / "fast") as copies:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(5))
        with pytest.raises(SlideError, match=r"a\.svs: .*fast has 0\.00 GB free") as raised:
            copies.fetch(slide, "a")
        assert "--stage-dir" in raised.value.hint
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(6))
        assert copies.fetch(slide, "a").exists()


def test_a_disk_that_fills_up_while_copying_leaves_no_partial_copy(slide, tmp_path, monkeypatch):
    def full(_source, target):
        target.write_bytes(b"pix")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with local_copies(tmp_path / "fast") as copies:
        with pytest.raises(SlideError, match="No space left"):
            copies.fetch(slide, "a")
        assert files(tmp_path / "fast") == []


def test_a_missing_slide_is_a_slide_error(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies, pytest.raises(SlideError, match=r"gone\.svs"):
        copies.fetch(slide.with_name("gone.svs"), "gone")


def test_a_folder_that_cannot_be_written_is_an_artifact_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write here"), local_copies(tmp_path / "file" / "fast"):
        pass


def fetch_and_die(slide, folder):
    with local_copies(folder) as copies:
        copies.fetch(slide, "a")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_the_next_run_deletes_the_copies_of_a_killed_run_but_not_those_of_a_live_one(slide, tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=fetch_and_die, args=(slide, tmp_path / "fast"))
    process.start()
    process.join()
    assert files(tmp_path / "fast") == ["a.svs"]
    with local_copies(tmp_path / "fast") as first:
        assert files(tmp_path / "fast") == []
        copy = first.fetch(slide, "a")
        with local_copies(tmp_path / "fast"):
            assert copy.exists()


def test_slides_that_will_not_be_read_are_not_copied(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies:
        CopiesAhead(copies, lambda _: True).prepare(CohortSlide("a", slide))
        assert files(tmp_path / "fast") == []
        ahead = CopiesAhead(copies, lambda _: False)
        ahead.prepare(CohortSlide("without path"))
        ahead.prepare(CohortSlide("gone", slide.with_name("gone.svs")))
        ahead.prepare(CohortSlide("a", slide))
        assert files(tmp_path / "fast") == ["a.svs"]
        ahead.release(CohortSlide("a", slide))
        assert files(tmp_path / "fast") == []
