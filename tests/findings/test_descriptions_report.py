"""HTML pages about described reports: escaped, self-contained, split into pages, with highlighted quotes."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions
from pipelines.core.schemas import ANSWERS, DESCRIBED_REPORTS
from pipelines.findings import descriptions_report
from pipelines.findings.descriptions_report import write_descriptions_report

LUNG = load_questions("lung")
WORK = Provenance({"backend": "rules", "questions": "lung"})
EVIL = '<script>alert("&amp;")</script> & <b>bold</b>'


def answer(report_id, question="margins", status="value", value="clear", span=None, text="", **more):
    row = {
        "report_id": report_id,
        "patient_id": "p",
        "question_id": question,
        "status": status,
        "value": value,
        "description": f"{question} {value or status}",
        "grounded": True,
        **more,
    }
    if span:
        row |= {"evidence": text[slice(*span)], "evidence_start": span[0], "evidence_end": span[1]}
    return row


def write(folder, texts, answers, **report):
    rows = [{"report_id": n, "patient_id": "p", "status": "ok", "n_parts": 1, **report} for n in texts]
    ANSWERS.write(folder / "answers.parquet", answers, WORK)
    DESCRIBED_REPORTS.write(folder / "reports.parquet", rows, WORK)
    return write_descriptions_report(folder, texts, LUNG)


class Page(HTMLParser):
    """Collects the text of the report boxes and of the marks in them, all tags and all references."""

    def __init__(self, source):
        super().__init__()
        self.boxes, self.marks, self.tags, self.links = [], [], [], []
        self._open = []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag in ("meta", "br", "link", "img"):
            return
        self._open.append((tag, attributes))
        if attributes.get("class") == "text":
            self.boxes.append("")
        if tag == "mark":
            self.marks.append((attributes["data-numbers"], ""))

    def handle_endtag(self, _):
        self._open.pop()

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        if any(a.get("class") == "text" for _, a in self._open) and "sup" not in tags:
            self.boxes[-1] += data
            if "mark" in tags:
                self.marks[-1] = (self.marks[-1][0], self.marks[-1][1] + data)


def read(path):
    source = path.read_text(encoding="utf-8")
    return source, Page(source)


def test_the_text_is_shown_unchanged_with_its_quotes_marked(tmp_path):
    text = f"{EVIL}\n  Margins are free.\nThe end."
    start = text.index("Margins")
    (path,) = write(tmp_path, {"r1": text}, [answer("r1", span=(start, start + 16), text=text)])
    source, page = read(path)
    assert page.boxes == [text]
    assert page.marks == [("1", "Margins are free")]
    assert EVIL not in source
    assert page.tags.count("script") == 2  # the counts and the filters, none from the text


def test_ids_answers_and_errors_are_escaped_too(tmp_path):
    row = answer("r1", status="present", value=None, evidence=EVIL, grounded=False)
    row["description"] = EVIL
    source, page = read(write(tmp_path, {"r1": "text"}, [row], error=EVIL, patient_id=EVIL)[0])
    assert EVIL not in source
    assert source.count(html.escape("</script> & <b>", quote=False)) >= 4
    assert "b" not in page.tags


def test_quotes_may_overlap(tmp_path):
    text = "abcdefghij"
    rows = [answer("r1", span=(1, 6), text=text), answer("r1", "pleural_invasion", "absent", None, (4, 9), text)]
    _, page = read(write(tmp_path, {"r1": text}, rows)[0])
    assert page.marks == [("1", "bcd"), ("1 2", "ef"), ("2", "ghi")]
    assert page.boxes == [text]


def test_a_page_loads_nothing(tmp_path):
    source, page = read(write(tmp_path, {"r1": "text"}, [answer("r1")])[0])
    assert page.links == []
    assert "default-src 'none'" in source
    assert "http" not in re.sub(r"http-equiv", "", source)


def test_many_reports_make_several_pages_that_count_each_others_matches(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions_report, "REPORTS_PER_PAGE", 2)
    values = {"r1": "clear", "r2": "involved", "r3": "clear", "r4": "clear", "r5": "involved"}
    paths = write(
        tmp_path, dict.fromkeys(values, "text"), [answer(n, value=v, evidence="x") for n, v in values.items()]
    )
    assert [path.name for path in paths] == ["report.html", "report-002.html", "report-003.html"]
    for path in paths:
        source, page = read(path)
        assert page.links == [path.name for path in paths]
        counts = json.loads(re.search(r'id="matches">(.*?)</script>', source)[1])
        assert [page.get("margins|clear|*", 0) for page in counts] == [1, 2, 0]
        assert [page["*|*|found"] for page in counts] == [2, 2, 1]
    assert [len(read(path)[1].boxes) for path in paths] == [2, 2, 1]


def test_the_text_on_a_page_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(descriptions_report, "CHARACTERS_PER_PAGE", 25)
    texts = {"r1": "x" * 40, "r2": "x" * 10, "r3": "x" * 10, "r4": "x" * 10}
    paths = write(tmp_path, texts, [answer(name) for name in texts])
    assert [len(read(path)[1].boxes) for path in paths] == [1, 2, 1]


def test_pages_of_an_earlier_larger_run_are_removed(tmp_path):
    (tmp_path / "report-002.html").write_text("old")
    write(tmp_path, {"r1": "text"}, [answer("r1")])
    assert not (tmp_path / "report-002.html").exists()


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (answer("r1", status="unknown", value=None, grounded=False), "the quote was not found in the report"),
        (answer("r1", evidence="made up", grounded=False), "quote not found in the report: made up"),
        (answer("r1", evidence="text", grounded=False, support="contradicted"), "text around the quote contradicts"),
        (answer("r1", agreement=2 / 3), "66.7 % of samples agree"),
        (answer("r1", conflict="involved"), "another part of the report: involved"),
    ],
    ids=["dropped", "ungrounded", "contradicted", "votes", "conflict"],
)
def test_doubts_are_shown_beside_the_answer(tmp_path, row, shown):
    source, _ = read(write(tmp_path, {"r1": "text"}, [row])[0])
    assert shown in source


def test_the_rates_of_all_reports_are_at_the_top(tmp_path):
    rows = [
        answer("r1"),
        answer("r2", status="unknown", value=None, grounded=False),
        answer("r3", status="unknown", value=None),
    ]
    source, _ = read(write(tmp_path, dict.fromkeys(("r1", "r2", "r3"), "text"), rows)[0])
    row = re.search(r"<tr><td>[^\n]*margins</td>.*?</tr>", source, flags=re.DOTALL)[0]
    assert re.findall(r"([\d.]+) %", row) == ["66.7", "33.3", "0.0"]


@pytest.mark.parametrize("status", ["empty", "failed"])
def test_the_rates_leave_out_reports_that_were_not_described(tmp_path, status):
    rows = [{"report_id": n, "patient_id": "p", "status": s, "n_parts": 1} for n, s in (("r1", "ok"), ("r2", status))]
    answers = [answer("r1"), answer("r2", status="failed" if status == "failed" else "unknown", value=None)]
    ANSWERS.write(tmp_path / "answers.parquet", answers, WORK)
    DESCRIBED_REPORTS.write(tmp_path / "reports.parquet", rows, WORK)
    (page,) = write_descriptions_report(tmp_path, {"r1": "Margins clear.", "r2": ""}, LUNG)
    line = next(row for row in page.read_text().split("<tr>") if "margins</td>" in row)
    assert ">1</td>" in line
    assert "100.0 %" not in line


def test_a_report_with_instructions_to_a_model_is_marked(tmp_path):
    source, _ = read(write(tmp_path, {"r1": "text"}, [answer("r1")], addresses_model=True)[0])
    assert "contains instructions to a language model</span>" in source
