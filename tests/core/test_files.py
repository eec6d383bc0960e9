import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.files import (
    LEFTOVER_SECONDS,
    SAMPLE,
    file_fingerprint,
    fingerprint,
    make_private_folder,
    remove_leftovers,
    replacing,
)


def test_a_file_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "a" / "table.txt"
    with replacing(target) as part:
        part.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"


def fail_while_writing(target):
    with replacing(target) as part:
        part.write_text("half")
        raise OSError("disk full")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "table.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"):
        fail_while_writing(target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.txt"]


def test_a_very_long_name_can_be_written(tmp_path):
    target = tmp_path / ("ü" * 60 + ".parquet")
    with replacing(target) as part:
        part.write_text("x")
    assert target.exists()


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("write", [lambda part: part.write_text("x"), lambda part: (part.unlink(), part.touch(0o777))])
def test_the_mode_of_a_file_is_the_same_from_its_creation_on(tmp_path, umask, private, write):
    expected = 0o600 if private else 0o666 & ~umask
    target = tmp_path / "a.txt"
    target.touch(0o777)
    with replacing(target, private=private) as part:
        assert mode(part) == expected
        write(part)
    assert mode(target) == expected


def test_writing_does_not_change_the_umask_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask belongs to all threads"))
    with replacing(tmp_path / "a.txt") as part:
        part.write_text("x")


def test_a_private_folder_is_open_to_its_owner_only_and_its_parents_are_not_changed(tmp_path, umask):
    make_private_folder(tmp_path / "study" / "descriptions")
    assert mode(tmp_path / "study" / "descriptions") == 0o700
    assert mode(tmp_path / "study") == 0o777 & ~umask
    (tmp_path / "shared").mkdir()
    make_private_folder(tmp_path / "shared")
    assert mode(tmp_path / "shared") == 0o777 & ~umask


def die_while_writing(target):
    with replacing(target) as part:
        part.write_text("half")
        os.kill(os.getpid(), 9)


def test_temporary_files_of_killed_processes_are_removed_and_files_being_written_are_kept(tmp_path):
    target = tmp_path / "sub" / "a.parquet"
    process = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(target,))
    process.start()
    process.join()
    [leftover] = (tmp_path / "sub").iterdir()
    with replacing(target) as part:
        part.write_text("whole")
        remove_leftovers(tmp_path)
        assert not leftover.exists()
    assert [(path.name, path.read_text()) for path in (tmp_path / "sub").iterdir()] == [("a.parquet", "whole")]


def test_temporary_files_of_another_host_are_kept_for_a_day(tmp_path):
    part = tmp_path / f".a-12345678.{fingerprint('another host')}-1.part.parquet"
    part.write_text("half")
    remove_leftovers(tmp_path)
    assert part.exists()
    long_ago = part.stat().st_mtime - LEFTOVER_SECONDS - 60
    os.utime(part, (long_ago, long_ago))
    remove_leftovers(tmp_path)
    assert not part.exists()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_the_order_of_keys_does_not_change_a_fingerprint(values):
    assert fingerprint(values) == fingerprint(dict(reversed(values.items())))


def test_a_changed_value_changes_the_fingerprint():
    assert fingerprint({"tile_size": 224}) != fingerprint({"tile_size": 256})


def big_file(path: Path, *, middle: bytes = b"\0") -> Path:
    size = 10 * SAMPLE
    with path.open("wb") as stream:
        stream.truncate(size)
        stream.seek(size // 2)
        stream.write(middle)
    return path


def test_a_copy_has_the_same_fingerprint_under_another_name(tmp_path):
    assert file_fingerprint(big_file(tmp_path / "a")) == file_fingerprint(big_file(tmp_path / "b"))


def test_a_change_in_the_middle_of_a_large_file_changes_its_fingerprint(tmp_path):
    assert file_fingerprint(big_file(tmp_path / "a")) != file_fingerprint(big_file(tmp_path / "b", middle=b"\1"))
