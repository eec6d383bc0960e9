from pipelines.reports.journal import Journal


def test_what_was_appended_is_found_by_report_and_work(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"report_id": "a", "work": "1", "text": "line\nend"})
    with Journal(tmp_path / "journal.jsonl") as again:
        assert again.current("a", "1")["text"] == "line\nend"
        assert again.current("a", "2") is None
        assert again.current("b", "1") is None


def test_a_later_record_replaces_an_earlier_one(tmp_path):
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"report_id": "a", "work": "1"})
        journal.append({"report_id": "a", "work": "2"})
    with Journal(tmp_path / "journal.jsonl") as again:
        assert again.current("a", "1") is None
        assert again.current("a", "2")


def test_a_line_cut_off_by_a_crash_loses_only_itself(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"report_id": "a", "work": "1"})
        journal.append({"report_id": "b", "work": "1"})
    path.write_bytes(path.read_bytes()[:-9])
    with Journal(path) as again:
        assert again.current("a", "1")
        assert again.current("b", "1") is None
        again.append({"report_id": "b", "work": "1"})
    with Journal(path) as last:
        assert last.current("a", "1")
        assert last.current("b", "1")
