"""Local copies of slides: made before their turn, few at a time, deleted whatever happens."""

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


def test_a_copy_has_the_name_and_content_of_its_slide_and_goes_when_dropped(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies:
        copy = copies.fetch(slide, "a")
        assert (copy.name, copy.read_bytes()) == ("a.svs", b"pixels")
        assert tmp_path / "fast" in copy.parents
        assert copies.fetch(slide, "a") == copy
        copies.drop("a")
        assert files(tmp_path / "fast") == []
        assert slide.exists()


def test_slides_of_one_name_have_copies_of_their_own(slide, tmp_path):
    other = tmp_path / "a.svs"
    other.write_bytes(b"other pixels")
    with local_copies(tmp_path / "fast") as copies:
        assert copies.fetch(slide, "a").read_bytes() == b"pixels"
        assert copies.fetch(other, "b").read_bytes() == b"other pixels"


def test_the_copy_of_one_id_stays_when_that_of_another_with_the_same_file_goes(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies:
        first, second = copies.fetch(slide, "a"), copies.fetch(slide, "b")
        copies.drop("a")
        assert not first.exists()
        assert second.read_bytes() == b"pixels"


def test_a_slide_of_several_files_is_copied_with_all_of_them(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"pixels")
    with local_copies(tmp_path / "fast") as copies:
        copy = copies.fetch(tmp_path / "a.mrxs", "a")
        assert (copy.parent / "a" / "Data0000.dat").read_bytes() == b"pixels"


def test_without_a_folder_slides_are_read_where_they_are(slide):
    IN_PLACE.drop("a")
    assert IN_PLACE.fetch(slide, "a") == slide
    assert slide.exists()


def test_nothing_stays_after_a_failure(slide, tmp_path):
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
    assert raised.value.message == f"{slide}: records no microns-per-pixel (mpp)"


def test_a_disk_without_room_is_a_slide_error_that_names_both(slide, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    with local_copies(tmp_path / "fast") as copies:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(5))
        with pytest.raises(SlideError, match=r"a\.svs: .*fast has 0\.00 GB free") as raised:
            copies.fetch(slide, "a")
        assert "--stage-dir" in raised.value.hint
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(6))
        assert copies.fetch(slide, "a").exists()


def test_a_disk_that_fills_up_meanwhile_leaves_no_half_copy(slide, tmp_path, monkeypatch):
    def full(_source, target):
        target.write_bytes(b"pix")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with local_copies(tmp_path / "fast") as copies:
        with pytest.raises(SlideError, match="No space left"):
            copies.fetch(slide, "a")
        assert files(tmp_path / "fast") == []


def test_a_slide_that_is_missing_is_a_slide_error(slide, tmp_path):
    with local_copies(tmp_path / "fast") as copies, pytest.raises(SlideError, match=r"gone\.svs"):
        copies.fetch(slide.with_name("gone.svs"), "gone")


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write here"), local_copies(tmp_path / "file" / "fast"):
        pass


def fetch_and_die(slide, folder):
    with local_copies(folder) as copies:
        copies.fetch(slide, "a")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_copies_of_a_killed_run_go_when_the_next_begins_and_those_of_a_living_one_stay(slide, tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=fetch_and_die, args=(slide, tmp_path / "fast"))
    process.start()
    process.join()
    assert files(tmp_path / "fast") == ["a.svs"]
    with local_copies(tmp_path / "fast") as first:
        assert files(tmp_path / "fast") == []
        copy = first.fetch(slide, "a")
        with local_copies(tmp_path / "fast"):
            assert copy.exists()


def test_what_will_not_be_read_is_not_copied(slide, tmp_path):
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
