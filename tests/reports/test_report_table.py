import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import CohortError
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports, plan
from pipelines.reports.report_table import Report, patients_fact, read_reports
from tests.describing import reports_of

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


@pytest.mark.parametrize("separator", [";", "\t", "|"])
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
        ("r.jsonl", '{"report_id": 1, "text": "a"}\nsecret words\n', "line 2 is not"),
        ("r.json", "[1, 2]", "not a JSON array of objects"),
        ("r.json", "secret words", "line 1 is not a JSON object"),
        ("r.hl7", "secret words", "files of type .hl7 are not read"),
        ("r.zip", "secret words", "files of type .zip are not read"),
        ("r.csv.gz", "secret words", "not a readable gzip file"),
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
    "text",
    [
        "",
        "  \n",
        "█████ ██",
        "[REDACTED] [REDACTED] [REDACTED] [REDACTED]",
        "1234 5678 90",
        "N/A",
        "nan",
        "none",
        "X 1 -",
    ],
)
def test_text_that_says_nothing_is_empty(text):
    assert Report("1", "1", text).is_empty


@pytest.mark.parametrize(
    "text",
    ["Margins are free.", "pT2 N0 R0 L0 V0 G3", "G3", "Adenocarcinoma", "R0, L1", "切缘阴性", "pT1a", "[REDACTED] R1"],
)
def test_a_short_report_is_not_empty(text):
    assert not Report("1", "1", text).is_empty


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


def test_a_line_that_names_the_separator_is_not_the_header(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("sep=;\nreport_id;text\n1;Margins, all: free.\n")
    assert read_reports(path) == [Report("1", "1", "Margins, all: free.")]
    path.write_text("sep=;\nreport_id;text\n1;a;b\n")
    with pytest.raises(CohortError, match="line 3: 3 fields"):
        read_reports(path)


@pytest.mark.parametrize("text", [json.dumps(ROWS), json.dumps({"reports": ROWS, "n": 1}), json.dumps(ROWS[0])])
def test_json(tmp_path, text):
    path = tmp_path / "r.json"
    path.write_text(text)
    assert read_reports(path) == EXPECTED


def test_json_lines_are_read_from_a_file_called_json(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"report_id": 1, "text": "a"}\n{"report_id": 2, "text": "b"}\n')
    assert [report.report_id for report in read_reports(path)] == ["1", "2"]


@pytest.mark.parametrize("name", ["r.csv.gz", "r.CSV.GZ", "r.jsonl.gz", "r.json.gz"])
def test_text_tables_packed_with_gzip(tmp_path, name):
    text = "report_id,text\n1,Margin free.\n" if "csv" in name.lower() else '{"report_id": 1, "text": "Margin free."}'
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert read_reports(tmp_path / name) == [Report("1", "1", "Margin free.")]


def test_a_gzip_file_is_not_unpacked_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.reports.source_bytes.MAX_BYTES", 1000)
    (tmp_path / "r.csv.gz").write_bytes(gzip.compress(b"report_id,text\n" + b"x" * 1000))
    with pytest.raises(CohortError, match="when unpacked"):
        read_reports(tmp_path / "r.csv.gz")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"report_id": 2, "textt": "secret words"}, "no text: column 'textt' (did you mean text?)"),
        ({"report_id": 2, "finding": "secret words"}, "no text: the row has no such key"),
        ({"report_id": 2, "text": "b", "pateint_id": "secret"}, "no patient_id: column 'pateint_id'"),
        ({"patient_id": "P2", "text": "b", "reprot_id": "secret"}, "no report_id: column 'reprot_id'"),
        ({"report_id": 2, "text": ["secret words"]}, "column text is not text"),
        ({"report_id": None, "text": "secret words"}, "no id"),
    ],
)
def test_a_bad_row_fails_alone(tmp_path, row, problem):
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, [ROWS[0], row])))
    good, bad = read_reports(path)
    assert [good] == EXPECTED
    assert bad.problem.startswith(problem)
    assert "secret" not in bad.problem
    assert bad.text == ""
    assert not bad.is_empty


def test_a_row_without_an_id_is_named_by_its_number(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("report_id,text\n1,a tumor\n,secret words\n")
    assert read_reports(path)[1] == Report(
        "row 2 of r.csv", "row 2 of r.csv", "", problem="no id; fill in the column report_id"
    )


def test_rows_may_spell_their_keys_differently(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"report_id": 1, "text": "a"}\n{"Report ID": 2, "report_text": "b"}\n')
    assert read_reports(path) == [Report("1", "1", "a"), Report("2", "2", "b")]


def test_a_row_without_a_patient_is_not_a_mistake(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"report_id": 1, "text": "a", "patient_id": "P"}\n{"report_id": 2, "text": "b"}\n')
    assert [report.problem for report in read_reports(path)] == ["", ""]


def test_a_bad_row_is_a_failed_report_of_the_run(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"report_id": "1", "text": "Margins are free."}\n{"report_id": "2", "textt": "Zebra"}\n')
    for _ in range(2):
        summary = describe_reports(DescribeReportsInputs(path), tmp_path / "out", DescribeReportsSettings())
        assert [failure.error for failure in summary.failures] == ["2: no text: column 'textt' (did you mean text?)"]
    assert {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")} == {"1": "ok", "2": "failed"}
    assert (
        plan(DescribeReportsInputs(path), tmp_path / "out", DescribeReportsSettings())["reports_that_cannot_be_read"]
        == 1
    )
    path.write_text(
        '{"report_id": "1", "text": "Margins are free."}\n{"report_id": "2", "text": "Margins are free."}\n'
    )
    describe_reports(DescribeReportsInputs(path), tmp_path / "out", DescribeReportsSettings())
    assert {row["status"] for row in reports_of(tmp_path / "out")} == {"ok"}
