"""Folders and single files: text, PDF, Word, RTF, spreadsheets, and what cannot be read."""

import gzip
import sys

import pytest

from pipelines.core.errors import CohortError
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from pipelines.reports.report_table import LONGEST_CELL, Report, read_reports
from tests.describing import reports_of
from tests.reports.document_files import (
    checkbox,
    content_control,
    docx,
    packed,
    paragraph,
    pdf,
    revised,
    rtf,
    table,
    xlsx,
)

PACKAGES = {".pdf": "pypdf", ".docx": "mammoth", ".rtf": "striprtf", ".xlsx": "python_calamine"}
LINE = "Margins are free."


def needs(*suffixes):
    for suffix in suffixes:
        pytest.importorskip(PACKAGES[suffix])


def read_one(path, content):
    path.write_bytes(content)
    (report,) = read_reports(path)
    assert not report.problem
    return report.text


def problem_of(path, content):
    path.write_bytes(content)
    (report,) = read_reports(path)
    assert "Margins" not in report.problem
    assert report.text == ""
    return report.problem


def test_a_folder_of_text_files(tmp_path, caplog):
    (tmp_path / "site" / ".git").mkdir(parents=True)
    (tmp_path / "site" / "a.txt").write_text("Margin free.")
    (tmp_path / "B.TXT").write_text("Margin involved.")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"R1"))
    (tmp_path / "._B.TXT").write_text("hidden file of macOS")
    (tmp_path / "site" / ".git" / "x.txt").write_text("hidden folder")
    (tmp_path / "notes.md").write_text("not a report")
    assert read_reports(tmp_path) == [
        Report("B", "B", "Margin involved."),
        Report("c", "c", "R1"),
        Report("site/a", "site/a", "Margin free."),
    ]
    assert caplog.messages == [f"{tmp_path}: files that are not read: notes.md"]


def test_documents_and_tables_of_all_kinds_are_read_from_one_folder(tmp_path):
    needs(".pdf", ".docx", ".rtf", ".xlsx")
    (tmp_path / "a.pdf").write_bytes(pdf(LINE))
    (tmp_path / "b.docx").write_bytes(docx(paragraph(LINE)))
    (tmp_path / "c.rtf").write_bytes(rtf(LINE))
    (tmp_path / "d.xlsx").write_bytes(xlsx([["report_id", "text"], ["d1", LINE], ["d2", LINE]]))
    (tmp_path / "e.json").write_text(f'[{{"report_id": "e1", "text": "{LINE}"}}]')
    (tmp_path / "f.csv").write_text(f"report_id,text\nf1,{LINE}\n")
    assert {report.report_id: report.text for report in read_reports(tmp_path)} == dict.fromkeys(
        ("a", "b", "c", "d1", "d2", "e1", "f1"), LINE
    )


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("x.doc", "save it as .docx"),
        ("x.docm", "save it as .docx"),
        ("x.hl7", "export a table"),
        ("x.tar.gz", "unpack it"),
        ("x.zip", "unpack it"),
        ("x.tif", "text recognition"),
        ("x.HTML", "save it"),
    ],
)
def test_a_file_that_may_be_a_report_is_refused_by_name_and_the_others_are_read(tmp_path, name, remedy):
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / name).write_bytes(b"\x00\x01")
    good, bad = read_reports(tmp_path)
    assert good.text == LINE
    assert bad.report_id == name
    assert remedy in bad.problem


def test_a_table_without_reports_in_a_folder_is_refused_by_name(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / "patients.csv").write_text("patient,age\n1,50\n")
    reports = read_reports(tmp_path)
    assert [(report.report_id, bool(report.problem)) for report in reports] == [("a", False), ("patients.csv", True)]


def test_results_in_the_folder_of_the_reports_are_not_reports(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    for _ in range(2):
        describe_reports(DescribeReportsInputs(tmp_path), tmp_path / "out", DescribeReportsSettings())
    assert [row["report_id"] for row in reports_of(tmp_path / "out")] == ["a"]


def test_many_files_that_are_not_read_are_counted(tmp_path, caplog):
    (tmp_path / "a.txt").write_text(LINE)
    for number in range(12):
        (tmp_path / f"{number:02}.md").touch()
    read_reports(tmp_path)
    assert caplog.messages[0].endswith("09.md and 2 more")


def test_a_single_text_file_is_one_report_or_a_table(tmp_path):
    path = tmp_path / "S24-1.txt"
    path.write_text("Report, with a comma\nand text.")
    assert read_reports(path) == [Report("S24-1", "S24-1", "Report, with a comma\nand text.")]
    path.write_text("report_id\ttext\n7\tMargins, free.\n")
    assert read_reports(path) == [Report("7", "7", "Margins, free.")]


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text(LINE)
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(LINE.encode()))
    with pytest.raises(CohortError, match="'a' appears twice"):
        read_reports(tmp_path)


def test_the_pages_of_a_pdf_are_read_in_order(tmp_path, caplog):
    needs(".pdf")
    text = read_one(tmp_path / "a.pdf", pdf("Page one.", "", "Page three."))
    assert text.split() == ["Page", "one.", "Page", "three."]
    assert caplog.messages == [f"{tmp_path / 'a.pdf'}: pages without text, which may be scans: 2"]


def test_word_files_keep_tables_boxes_controls_and_the_accepted_changes(tmp_path):
    needs(".docx")
    content = docx(
        paragraph("Synopsis"),
        table(["Margins", "Free & clear"], ["", "R0"]),
        checkbox(" Present", checked=False),
        checkbox(" Absent", checked=True),
        content_control(paragraph("In a control.")),
        revised("involved", "not involved"),
    )
    assert read_one(tmp_path / "a.docx", content).split("\n") == [
        "Synopsis",
        "Margins | Free & clear",
        "R0",
        "[ ] Present",
        "[X] Absent",
        "In a control.",
        "not involved",
    ]


def test_rtf_files_are_read_without_their_markup(tmp_path):
    needs(".rtf")
    assert read_one(tmp_path / "a.rtf", rtf("R\\'e9section.\n{\\b Margins} are free.")).split("\n") == [
        "Résection.",
        "Margins are free.",
    ]


def test_a_spreadsheet_is_a_table(tmp_path):
    needs(".xlsx")
    path = tmp_path / "r.xlsx"
    path.write_bytes(xlsx([["report_id", "patient_id", "text"], ["007", 12, LINE], [8, 13.5, "R1"]], []))
    assert read_reports(path) == [Report("007", "12", LINE), Report("8", "13.5", "R1")]


def test_a_spreadsheet_with_two_filled_sheets_is_refused(tmp_path):
    needs(".xlsx")
    path = tmp_path / "r.xlsx"
    path.write_bytes(xlsx([["report_id", "text"], ["1", LINE]], [["legend"]]))
    with pytest.raises(CohortError, match=r"r\.xlsx: 2 sheets have content"):
        read_reports(path)


def test_text_that_a_spreadsheet_may_have_cut_off_fails(tmp_path):
    needs(".xlsx")
    path = tmp_path / "r.xlsx"
    path.write_bytes(xlsx([["report_id", "text"], ["1", "x" * LONGEST_CELL], ["2", "x" * (LONGEST_CELL - 1)]]))
    assert ["cut off" in report.problem for report in read_reports(path)] == [True, False]


def of_zip_version(version, archive):
    """Return an archive that needs a version of ZIP that does not exist, in its first entry."""
    place = archive.index(b"PK\x01\x02") + 6
    return archive[:place] + bytes([version]) + archive[place + 1 :]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pdf", b"", "not a readable .pdf file"),
        ("a.pdf", b"Margins are free.", "not a readable .pdf file"),
        ("a.pdf", pdf("", ""), "no text"),
        ("a.pdf", pdf(LINE)[:120], "not a readable .pdf file"),
        ("a.docx", b"Margins are free.", "not a readable .docx file"),
        ("a.docx", packed({"x": "Margins"}), "not a readable .docx file"),
        ("a.docx", docx(paragraph(LINE))[:-30], "not a readable .docx file"),
        ("a.docx", of_zip_version(64, docx(paragraph(LINE))), "a damaged file"),
        ("a.rtf", b"Margins are free.", "not an RTF file"),
        ("a.txt.gz", b"Margins are free.", "not a readable gzip file"),
        ("a.txt.gz", gzip.compress(b"Margins are free.")[:-9], "not a readable gzip file"),
    ],
    ids=[  # of their own, because the content has the time in it
        *("empty pdf", "text as pdf", "pdf without text", "cut pdf", "text as docx", "other docx", "cut docx"),
        *("docx of another zip", "text as rtf", "text as gzip", "cut gzip"),
    ],
)
def test_a_damaged_document_fails_alone(tmp_path, name, content, expected):
    for suffix, package in PACKAGES.items():
        if name.endswith(suffix):
            pytest.importorskip(package)
    assert expected in problem_of(tmp_path / name, content)


def test_a_pdf_with_a_password_fails_alone(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    (tmp_path / "plain.pdf").write_bytes(pdf(LINE))
    writer = pypdf.PdfWriter(clone_from=tmp_path / "plain.pdf")
    writer.encrypt("secret", algorithm="RC4-128")
    writer.write(tmp_path / "a.pdf")
    (tmp_path / "plain.pdf").unlink()
    assert "password" in problem_of(tmp_path / "a.pdf", (tmp_path / "a.pdf").read_bytes())


def test_a_word_file_is_not_unpacked_without_end(tmp_path, monkeypatch):
    needs(".docx")
    monkeypatch.setattr("pipelines.reports.source_bytes.MAX_BYTES", 1000)
    assert "when unpacked" in problem_of(tmp_path / "a.docx", docx(paragraph("x" * 1000)))


def test_a_spreadsheet_is_not_unpacked_without_end(tmp_path, monkeypatch):
    needs(".xlsx")
    monkeypatch.setattr("pipelines.reports.source_bytes.MAX_BYTES", 1000)
    (tmp_path / "r.xlsx").write_bytes(xlsx([["report_id", "text"], ["1", "x" * 1000]]))
    with pytest.raises(CohortError, match=r"r\.xlsx: larger than .* when unpacked"):
        read_reports(tmp_path / "r.xlsx")


@pytest.mark.parametrize("suffix", PACKAGES)
def test_a_missing_package_ends_the_run_with_the_command_that_installs_it(tmp_path, monkeypatch, suffix):
    package = PACKAGES[suffix]
    for module in (package, f"{package}.{package}"):
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / f"a{suffix}").write_bytes(b"x")
    for source in (tmp_path, tmp_path / f"a{suffix}"):
        with pytest.raises(CohortError, match="is not installed") as caught:
            read_reports(source)
        assert "five-wsi[documents]" in caught.value.hint


def test_a_file_that_cannot_be_read_is_a_failed_report_of_the_run(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "a.txt").write_text(LINE)
    (tmp_path / "reports" / "b.doc").touch()
    summary = describe_reports(DescribeReportsInputs(tmp_path / "reports"), tmp_path / "out", DescribeReportsSettings())
    (failure,) = summary.failures
    assert failure.error == "b.doc: files of type .doc are not read; save it as .docx or .txt"
    assert {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")} == {"a": "ok", "b.doc": "failed"}
