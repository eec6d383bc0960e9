"""Tables that users write: cohorts, reports, reference answers and splits, as CSV, Parquet, JSON and text."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide, patient_facts, read_cohort
from pipelines.core.descriptions_folder import QUESTION_SET
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions, write_questions
from pipelines.core.schemas import ANSWERS
from pipelines.core.settings import EvaluateDescriptionsSettings
from pipelines.evaluate_descriptions import EvaluateDescriptionsInputs, evaluate_descriptions
from pipelines.model.data.splits.split_files import n_folds, read_splits
from pipelines.reports.report_table import read_reports
from tests.properties.damage import damaged, json_values, odd_numbers, odd_text
from tests.properties.readers import examples, reads_or_refuses
from tests.reports.document_files import docx, paragraph, pdf, rtf, xlsx
from tests.reports.document_files import table as word_table

SLIDES = [CohortSlide(f"s{number}", patient_id=f"p{number // 2}", label="ab"[number % 2]) for number in range(12)]


def cohort(path):
    patient_facts(read_cohort(path))


def reports(path):
    for report in read_reports(path):
        report.text.encode()
        assert isinstance(report.is_empty, bool)


def splits(path):
    read_splits(path, SLIDES, fold=0, val_fraction=0.2)


def folds(path):
    n_folds(path)


def parquet(rows) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue()


def csv(rows) -> bytes:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


COHORT = [{"slide_id": f"s{n}", "path": f"a/s{n}.svs", "patient_id": f"p{n}", "mpp": 0.25, "label": "x"} for n in "123"]
REPORTS = [{"report_id": f"r{n}", "patient_id": f"p{n}", "text": f"No pleural invasion {n}."} for n in "123"]
CLAM = b",train,val,test\n0,s0,s2,s4\n1,s1,s3,s5\n2,s6,,s8\n"
STAMP = json.dumps({"splits": [{"train_patients": ["p0", "p1"], "test_patients": ["p2"]}] * 2}).encode()
VALID = {
    "cohort.csv": (cohort, csv(COHORT)),
    "cohort.parquet": (cohort, parquet(COHORT)),
    "reports.csv": (reports, csv(REPORTS)),
    "reports.jsonl": (reports, "\n".join(map(json.dumps, REPORTS)).encode()),
    "reports.parquet": (reports, parquet(REPORTS)),
    "reports.json": (reports, json.dumps(REPORTS).encode()),
    "reports.csv.gz": (reports, gzip.compress(csv(REPORTS), mtime=0)),
    "reports.xlsx": (reports, xlsx([list(REPORTS[0]), *(list(row.values()) for row in REPORTS)])),
    "report.pdf": (reports, pdf("No pleural invasion.", "R0")),
    "report.docx": (reports, docx(paragraph("No pleural invasion."), word_table(["Margins", "R0"]))),
    "report.rtf": (reports, rtf("No pleural invasion.\n{\\b R0}\\u-10179?\\u-8704?")),
    "splits_0.csv": (splits, CLAM),
    "splits.json": (splits, STAMP),
    "folds.json": (folds, STAMP),
}
PACKAGES = {".pdf": "pypdf", ".docx": "mammoth", ".rtf": "striprtf", ".xlsx": "python_calamine"}


def needs(name):
    """Skip a test whose reader needs an extra that is not installed."""
    suffix = "." + name.rpartition(".")[2]
    if suffix in PACKAGES:
        pytest.importorskip(PACKAGES[suffix])


cases = pytest.mark.parametrize(("name", "reader"), [(name, read) for name, (read, _) in VALID.items()], ids=VALID)


@cases
def test_a_valid_file_is_read(tmp_path, name, reader):
    needs(name)
    (tmp_path / name).write_bytes(VALID[name][1])
    reader(tmp_path / name)


@cases
@given(data=st.data())
@examples(80)
def test_any_bytes_and_any_damage_give_rows_or_one_error(tmp_path, name, reader, data):
    needs(name)
    path = tmp_path / name
    path.write_bytes(data.draw(st.binary(max_size=300) | damaged(VALID[name][1], head=200)))
    reads_or_refuses(reader, path)


names = (
    st.sampled_from(
        [
            *(
                "slide_id",
                "path",
                "patient_id",
                "mpp",
                "label",
                "split",
                "site",
                "Patient ID",
                "report_id",
                "text",
                "filename",
            )
        ]
    )
    | odd_text
)


def column(values):
    """Return an Arrow array of ``values``, as text if they have no common type that Parquet files can have."""
    try:
        array = pa.array(values)
        pq.write_table(pa.table([array], ["a"]), pa.BufferOutputStream())
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        array = pa.array([None if value is None else str(value) for value in values], pa.string())
    return array


@st.composite
def tables(draw, cells):
    columns = draw(st.lists(names, min_size=1, max_size=5))
    return columns, draw(st.lists(st.lists(cells, min_size=len(columns), max_size=len(columns)), max_size=6))


@pytest.mark.parametrize("reader", [cohort, reports, splits])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@given(table=tables(odd_text | st.sampled_from(["s1", "p1", "0.25", "train", "x.svs"])), quote=st.booleans())
@examples(30)
def test_any_cells_of_a_csv_table_give_rows_or_one_error(tmp_path, reader, separator, table, quote):
    columns, rows = table
    text = (lambda cell: '"' + cell.replace('"', '""') + '"') if quote else str
    (tmp_path / "a.csv").write_bytes("\n".join(separator.join(map(text, row)) for row in [columns, *rows]).encode())
    reads_or_refuses(reader, tmp_path / "a.csv")


@pytest.mark.parametrize("reader", [cohort, reports, splits])
@given(
    table=tables(json_values | st.binary(max_size=9) | st.dates() | st.datetimes() | st.timedeltas() | st.decimals())
)
@examples(60)
def test_any_cells_of_a_parquet_table_give_rows_or_one_error(tmp_path, reader, table):
    columns, rows = table
    arrays = [column([row[number] for row in rows]) for number in range(len(columns))]
    pq.write_table(pa.Table.from_arrays(arrays, names=columns), tmp_path / "a.parquet")
    reads_or_refuses(reader, tmp_path / "a.parquet")


records = st.dictionaries(names, json_values | odd_text | st.just("r1"), max_size=5)


@given(st.lists(records | json_values, max_size=5), st.booleans())
@examples(150)
def test_any_json_lines_give_reports_or_one_error(tmp_path, rows, escaped):
    lines = "\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows)
    (tmp_path / "a.jsonl").write_bytes(lines.encode("utf-8", "surrogatepass"))
    reads_or_refuses(reports, tmp_path / "a.jsonl")


@given(st.lists(st.binary(max_size=60) | st.text().map(str.encode), min_size=1, max_size=4))
@examples(60)
def test_any_text_files_of_a_folder_are_reports(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("reports")
    for number, text in enumerate(texts):
        (folder / f"r{number}.txt").write_bytes(text)
    reads_or_refuses(reports, folder)


patients = st.lists(st.sampled_from(["p0", "p1", "p2", "p3"]) | json_values, max_size=4) | json_values
fold_records = st.fixed_dictionaries({"train_patients": patients, "test_patients": patients}) | json_values


@given(st.fixed_dictionaries({"splits": st.lists(fold_records, max_size=3) | json_values}) | json_values)
@examples(150)
def test_any_json_as_splits_gives_splits_or_one_error(tmp_path, content):
    (tmp_path / "splits.json").write_text(json.dumps(content))
    reads_or_refuses(splits, tmp_path / "splits.json")


@pytest.fixture(scope="module")
def descriptions(tmp_path_factory):
    """Return a folder with answers to the first three lung questions about ten reports."""
    folder = tmp_path_factory.mktemp("descriptions")
    lung = load_questions("lung")
    questions = lung.model_copy(update={"questions": lung.questions[:3]})
    rows = [
        {
            "report_id": f"r{n}",
            "patient_id": f"p{n}",
            "question_id": question.id,
            "status": "unknown",
            "grounded": True,
            "description": "Unknown",
        }
        for n in range(10)
        for question in questions.questions
    ]
    ANSWERS.write(folder / "answers.parquet", rows, Provenance({QUESTION_SET: questions.fingerprint}, "", "0"))
    write_questions(questions, folder / "questions.yaml")
    return folder


QUESTIONS = [question.id for question in load_questions("lung").questions[:3]]
gold_cells = st.sampled_from(["present", "absent", "unknown", "", "NA", "r1", "r2", "p3"]) | odd_text | odd_numbers


@given(
    columns=st.lists(st.sampled_from([*QUESTIONS, "report_id", "patient_id"]) | odd_text, min_size=1, max_size=5),
    data=st.data(),
)
@examples(60)
def test_any_reference_answers_give_a_comparison_or_one_error(tmp_path, descriptions, columns, data):
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, gold_cells)), max_size=5))
    (tmp_path / "gold.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    settings = EvaluateDescriptionsSettings(resamples=10)
    inputs = EvaluateDescriptionsInputs(descriptions, tmp_path / "gold.jsonl")
    reads_or_refuses(lambda: evaluate_descriptions(inputs, settings))
