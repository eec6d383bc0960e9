from pipelines.reports.journal import Journal


def record(name="a", work="1", status="ok", **more):
    return {"report_id": name, "work": work, "status": status, **more}


def test_what_was_appended_is_found_by_report_and_work(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record(text="line\nend"))
    with Journal(tmp_path) as again:
        assert again.current("a", "1")["text"] == "line\nend"
        assert again.current("a", "2") is None
        assert again.current("b", "1") is None


def test_a_later_record_of_the_same_work_replaces_an_earlier_one(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record(n=1))
        journal.append(record(n=2))
        journal.append(record(work="2", n=3))
    with Journal(tmp_path) as again:
        assert again.current("a", "1")["n"] == 2
        assert again.current("a", "2")["n"] == 3


def test_a_failure_does_not_hide_a_success(tmp_path):
    with Journal(tmp_path, "1-of-2") as one, Journal(tmp_path, "2-of-2") as two:
        one.append(record())
        two.append(record(status="failed"))
    assert Journal(tmp_path).current("a", "1")["status"] == "ok"


def test_shards_write_files_of_their_own_and_read_all(tmp_path):
    with Journal(tmp_path, "1-of-2") as one, Journal(tmp_path, "2-of-2") as two:
        one.append(record("a"))
        assert two.current("a", "1") is None
        two.reload()
        assert two.current("a", "1")
    assert [path.name for path in tmp_path.iterdir()] == ["journal-1-of-2.jsonl"]


def test_a_line_cut_off_by_a_crash_loses_only_itself(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(record("a"))
        journal.append(record("b"))
    journal.path.write_bytes(journal.path.read_bytes()[:-9])
    with Journal(tmp_path) as again:
        assert again.current("a", "1")
        assert again.current("b", "1") is None
        again.append(record("b"))
    with Journal(tmp_path) as last:
        assert last.current("a", "1")
        assert last.current("b", "1")


def test_nothing_is_written_before_the_first_record(tmp_path):
    with Journal(tmp_path / "out"):
        pass
    assert not (tmp_path / "out").exists()
