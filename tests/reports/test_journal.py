import errno
import os

import pytest

from pipelines.core.errors import ArtifactError
from pipelines.reports.journal import Journal


def record(name="a", work="1", status="ok", **more):
    return {"report_id": name, "work": work, "status": status, **more}


def test_a_record_is_found_by_report_and_work(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record(text="line\nend"))
    with Journal(tmp_path) as reopened:
        assert reopened.current("a", "1")["text"] == "line\nend"
        assert reopened.current("a", "2") is None
        assert reopened.current("b", "1") is None


def test_a_later_record_of_the_same_work_replaces_an_earlier_one(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record(n=1))
        journal.append(record(n=2))
        journal.append(record(work="2", n=3))
    with Journal(tmp_path) as reopened:
        assert reopened.current("a", "1")["n"] == 2
        assert reopened.current("a", "2")["n"] == 3


def test_a_failure_does_not_hide_a_success(tmp_path):
    with Journal(tmp_path, "1-of-2") as first, Journal(tmp_path, "2-of-2") as second:
        first.append(record())
        second.append(record(status="failed"))
    assert Journal(tmp_path).current("a", "1")["status"] == "ok"


def test_each_shard_writes_its_own_file_and_reads_all(tmp_path):
    with Journal(tmp_path, "1-of-2") as first, Journal(tmp_path, "2-of-2") as second:
        first.append(record("a"))
        assert second.current("a", "1") is None
        second.reload()
        assert second.current("a", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["journal-1-of-2.jsonl"]


def test_only_the_line_cut_off_by_a_crash_is_lost(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record("a"))
        journal.append(record("b"))
    journal.path.write_bytes(journal.path.read_bytes()[:-9])
    with Journal(tmp_path) as reopened:
        assert reopened.current("a", "1")
        assert reopened.current("b", "1") is None
        reopened.append(record("b"))
    with Journal(tmp_path) as last:
        assert last.current("a", "1")
        assert last.current("b", "1")


def test_a_line_cut_off_by_a_crash_is_not_reported_as_damage(tmp_path, caplog):
    test_only_the_line_cut_off_by_a_crash_is_lost(tmp_path)
    assert caplog.messages == []


def test_damaged_lines_are_not_used_and_reported_once(tmp_path, caplog):
    with Journal(tmp_path) as journal:
        for name in "abcd":
            journal.append(record(name, answer="present"))
    lines = journal.path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"present", b"absent!")
    lines[2] = b"\0" * len(lines[2][:-1]) + b"}"
    journal.path.write_bytes(b"\n".join(lines))
    with Journal(tmp_path) as reopened:
        reopened.reload()
        assert [entry["report_id"] for entry in reopened.records] == ["a", "d"]
        assert caplog.messages == [
            f"{journal.path}: lines that are damaged or from an earlier version: 2; their reports are asked about again"
        ]
        reopened.append(record("b", answer="absent"))
    with Journal(tmp_path) as last:
        assert last.current("b", "1")["answer"] == "absent"


def test_a_record_without_digest_is_not_used(tmp_path, caplog):
    (tmp_path / "journal.jsonl").write_text('{"report_id": "a", "work": "1", "status": "ok"}\n')
    assert Journal(tmp_path).records == []
    assert "from an earlier version: 1;" in caplog.text


def test_every_flipped_bit_loses_lines_but_changes_none(tmp_path):
    with Journal(tmp_path) as journal:
        for name in "abc":
            journal.append(record(name, answer={"margins": "clear"}, seconds=0.25))
    content, expected = journal.path.read_bytes(), journal.records
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        journal.path.write_bytes(flipped)
        found = Journal(tmp_path).records
        assert len(found) >= 1
        assert all(entry in expected for entry in found)


def test_nothing_is_written_before_the_first_record(tmp_path):
    with Journal(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()


def test_a_journal_that_cannot_be_written_is_an_error_that_names_it(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"journal\.jsonl: cannot write here"), Journal(tmp_path) as journal:
        journal.append(record())
