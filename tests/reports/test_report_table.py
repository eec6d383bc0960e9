import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import CohortError
from pipelines.reports.report_table import Report, patients_fact, read_reports

ROWS = [{"report_id": "007", "patient_id": "P1", "text": 'Margin "free",\nno tumor.'}]
EXPECTED = [Report("007", "P1", 'Margin "free",\nno tumor.')]


def test_csv_with_quotes_commas_and_line_ends(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text('report_id,patient_id,text\n007,P1,"Margin ""free"",\nno tumor."\n')
    assert read_reports(path) == EXPECTED


def test_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "r.parquet")
    assert read_reports(tmp_path / "r.parquet") == EXPECTED


def test_json_lines(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n\n")
    assert read_reports(path) == EXPECTED


def test_a_lone_surrogate_is_replaced(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"report_id": "1", "text": "Margin \\ud800free."}')
    assert read_reports(path)[0].text == "Margin \ufffdfree."


def test_a_folder_of_text_files(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("Margin free.")
    (tmp_path / "B.TXT").write_text("Margin involved.")
    (tmp_path / "._B.TXT").write_text("hidden file of macOS")
    (tmp_path / "notes.md").write_text("not a report")
    assert read_reports(tmp_path) == [Report("B", "B", "Margin involved."), Report("site/a", "site/a", "Margin free.")]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_the_separator_is_recognized_by_the_header(tmp_path, separator):
    path = tmp_path / "r.csv"
    path.write_text(separator.join(["report_id", "text"]) + "\n" + separator.join(["1", '"Margins, all: ""free"""']))
    assert read_reports(path) == [Report("1", "1", 'Margins, all: "free"')]


def test_utf16_is_recognized_by_its_byte_order_mark(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes("report_id,text\n1,Résection complète.\n".encode("utf-16"))
    assert read_reports(path) == [Report("1", "1", "Résection complète.")]


def test_other_column_names_are_accepted(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("CASE_ID,Report\nP1,Margin free.\n")
    assert read_reports(path) == [Report("P1", "P1", "Margin free.")]


def test_bytes_that_are_not_utf8_are_read_as_windows_1252(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"report_id,text\n1,caf\xe9 \x00and \x81 tumor\n")
    assert read_reports(path)[0].text == "café and \ufffd tumor"


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    path = tmp_path / "r.csv"
    path.write_bytes(b"\xef\xbb\xbfreport_id,text\n1,Margin free.\n")
    assert read_reports(path)[0].report_id == "1"


def test_a_report_of_two_hundred_pages_is_read_completely(tmp_path):
    text = "The pleura is free of tumor. " * 20_000
    path = tmp_path / "r.csv"
    path.write_text(f"report_id,text\n1,{text}\n")
    assert read_reports(path)[0].text == text


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("r.csv", "report_id,text\n1,a\n1,b\n", "'1' appears twice"),
        ("r.csv", "report_id,patient\n1,a\n", "report text"),
        ("r.csv", "1,secret words\n2,secret words\n", "report text"),
        ("r.csv", "report_id;text\n1;a tumor; secret words\n", "line 2: 3 fields, but the header has 2"),
        ("r.csv", 'report_id,text\n1,"secret words\n2,more', "line 3: not CSV"),
        ("r.csv", 'report_id,text\n1,"secret "words" here"\n', "line 2: not CSV"),
        ("r.csv", "report_id,text\n1,a tumor, secret words\n", "line 2: 3 fields, but the header has 2"),
        ("r.csv", "report_id,text\n1,a tumor\nsecret words\n", "line 3: 1 fields, but the header has 2"),
        ("r.csv", "report_id,text\n", "no reports"),
        ("r.csv", "report_id,text\n,secret words\n", "report 1 has no id"),
        ("r.jsonl", '{"report_id": 1, "text": "a"}\nsecret words\n', "line 2 is not"),
        ("r.jsonl", '{"report_id": 1, "text": ["secret words"]}\n', "report 1: column text is not text"),
    ],
)
def test_an_invalid_table_is_named_in_an_error_that_repeats_no_text(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content)
    with pytest.raises(CohortError, match=expected) as caught:
        read_reports(tmp_path / name)
    assert name in caught.value.message
    assert "secret" not in str(caught.value) + caught.value.hint


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(CohortError, match=r"none\.csv"):
        read_reports(tmp_path / "none.csv")


@pytest.mark.parametrize(
    "text", ["", "  \n", "█████ ██", "[REDACTED] [REDACTED] [REDACTED] [REDACTED]", "1234 5678 90"]
)
def test_text_without_words_is_empty(text):
    assert Report("1", "1", text).is_empty


def test_text_with_words_is_not_empty():
    assert not Report("1", "1", "Margins are free.").is_empty


def test_a_report_does_not_show_its_text():
    assert "Margins" not in repr(Report("1", "1", "Margins are free."))


def test_spelling_of_columns_does_not_matter_and_the_others_are_named(tmp_path, caplog):
    path = tmp_path / "r.csv"
    path.write_text("Report ID,Patient-ID,Report Text,pateint_id,age\n7,P1,Margin free.,x,50\n")
    assert read_reports(path) == [Report("7", "P1", "Margin free.")]
    assert caplog.messages == [f"{path}: columns that are not read: 'pateint_id', 'age'"]


def test_a_misspelled_patient_column_is_noticed(tmp_path, caplog):
    path = tmp_path / "r.csv"
    path.write_text("report_id,pateint_id,text\n7,P1,Margin free.\n")
    assert patients_fact(read_reports(path))["patients"].startswith("one patient per report")
    assert caplog.messages == [f"{path}: columns that are not read: 'pateint_id' (did you mean patient_id?)"]


@pytest.mark.parametrize("word", ["NA", "nan", "None", "", " "])
def test_a_report_without_a_patient_counts_as_one_patient(tmp_path, word):
    path = tmp_path / "r.csv"
    path.write_text(f"report_id,patient_id,text\n7,P1,Margin free.\n8,{word},Margin involved.\n")
    reports = read_reports(path)
    assert reports[1].patient_id == "8"
    assert patients_fact(reports)["patients"].startswith("1 of 2 reports have no patient")


def test_each_text_file_counts_as_one_patient(tmp_path):
    (tmp_path / "a.txt").write_text("Margin free.")
    assert patients_fact(read_reports(tmp_path))["patients"].startswith("one patient per report")
    path = tmp_path / "r.csv"
    path.write_text("patient_id,text\nP1,Margin free.\n")
    assert patients_fact(read_reports(path)) == {}


def test_a_column_that_only_later_json_lines_have_is_read(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"report_id": 1, "text": "a"}\n{"report_id": 2.0, "text": "b", "Patient ID": 0}\n')
    assert read_reports(path) == [Report("1", "1", "a"), Report("2", "0", "b")]


def test_two_columns_of_one_name_are_refused_without_showing_the_name(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("secret,words,secret\n1,2,3\n")
    with pytest.raises(CohortError, match="columns 1 and 3 have the same name"):
        read_reports(path)
