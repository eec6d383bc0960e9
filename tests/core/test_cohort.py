import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.cohort import CohortSlide, patient_facts, read_cohort, slides_in_cohort
from pipelines.core.errors import CohortError, FiveError


def table(tmp_path: Path, text: str, name: str = "cohort.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_ids_stay_text_with_leading_zeros(tmp_path):
    slides = read_cohort(table(tmp_path, "slide_id,patient_id\n007,001\n"))
    assert (slides[0].slide_id, slides[0].patient_id) == ("007", "001")


def test_paths_are_relative_to_the_table(tmp_path):
    slides = read_cohort(table(tmp_path, "slide_id,path\na,slides/a.svs\n"))
    assert slides[0].path == tmp_path / "slides/a.svs"


@pytest.mark.parametrize(
    "header",
    ["slide,case_id,TARGET,spacing_at_level_0", "FILENAME,PATIENT,label,mpp", "sample_id,patient,Label,MPP"],
)
def test_the_column_names_of_other_tools_are_accepted(tmp_path, header):
    slide = read_cohort(table(tmp_path, f"{header}\ns1,p1,LUAD,0.25\n"))[0]
    assert (slide.slide_id, slide.patient, slide.label, slide.mpp) == ("s1", "p1", "LUAD", 0.25)


def test_empty_cells_are_missing_values(tmp_path):
    slide = read_cohort(table(tmp_path, "slide_id,mpp,label\ns1,,\n"))[0]
    assert slide.mpp is None
    assert slide.label is None


def test_a_parquet_table_reads_like_its_csv(tmp_path):
    pq.write_table(pa.table({"slide_id": ["01"], "mpp": [0.5]}), tmp_path / "c.parquet")
    assert read_cohort(tmp_path / "c.parquet")[0].mpp == 0.5


def test_a_byte_order_mark_is_ignored(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes(b"\xef\xbb\xbfslide_id\ns1\n")
    assert read_cohort(path)[0].slide_id == "s1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide_id\na\na\n", "'a' appears twice"),
        ("slide_id,mpp\na,zero\n", "line 2: mpp 'zero'"),
        ("slide_id,mpp\na,-1\n", "line 2: mpp '-1'"),
        ("name,color\na,red\n", "no slide_id or path column"),
        ("slide_id\n", "no slide_id or path column|no slides found"),
    ],
)
def test_a_bad_table_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(CohortError, match=message):
        read_cohort(table(tmp_path, text))


@pytest.mark.parametrize(
    ("slide_id", "recorded", "problem"),
    [
        ("../../etc/x", "..%2F..%2Fetc%2Fx", "slide '../../etc/x': the name has an empty part, '.' or '..'"),
        ("..", "%2E%2E", "slide '..': the name has an empty part, '.' or '..'"),
        ("/etc/x", "%2Fetc%2Fx", "slide '/etc/x': the name is an absolute path"),
        ("a//b", "a%2F%2Fb", "slide 'a//b': the name has an empty part, '.' or '..'"),
        ("a/", "a%2F", "slide 'a/': the name has an empty part, '.' or '..'"),
        ("slides", "slides", "slide 'slides': the name is reserved for the summary tables"),
        ("a\nb", "a%0Ab", "slide 'a\\nb': the name has a line end or another control character"),
        ("a\u2028b", "a%E2%80%A8b", "slide 'a\\u2028b': the name has a line end or another control character"),
        ("x./b", "x./b", "slide 'x./b': the name has a part that ends with a dot or a space"),
        ("x /b", "x /b", "slide 'x /b': the name has a part that ends with a dot or a space"),
        ("x/aux", "x/aux", "slide 'x/aux': the name is the name of a device on Windows"),
        ("Com1.a", "Com1.a", "slide 'Com1.a': the name is the name of a device on Windows"),
    ],
)
def test_a_slide_whose_id_cannot_be_a_file_name_has_a_problem_and_the_others_are_read(
    tmp_path, slide_id, recorded, problem
):
    bad, good = read_cohort(table(tmp_path, f'slide_id,label\n"{slide_id}",x\ngood,y\n'))
    assert (bad.slide_id, bad.problem, bad.label) == (recorded, problem, "x")
    assert good == CohortSlide("good", label="y")


def test_a_very_long_id_is_recorded_shortened_with_a_digest(tmp_path):
    letter = "\u00e9"  # 2 bytes
    one, other = read_cohort(table(tmp_path, "\n".join(["slide_id", letter * 101, letter * 102])))
    assert one.slide_id.startswith(letter * 40 + "~")
    assert one.slide_id != other.slide_id
    assert one.problem == f"slide '{letter * 80}...': the name is longer than 200 bytes"


def test_file_names_that_are_not_utf_8_have_a_problem(tmp_path):
    for name in (b"\xff.svs", b"good.svs"):
        (tmp_path / os.fsdecode(name)).touch()
    good, bad = read_cohort(tmp_path)
    assert (good.slide_id, good.problem) == ("good", None)
    assert (bad.slide_id, bad.problem) == ("%FF", "slide '\\xff': the name is not UTF-8")


def test_slides_in_a_folder_whose_name_is_not_utf_8_have_a_problem(tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    (folder / "a.svs").touch()
    [slide] = read_cohort(folder)
    assert slide.slide_id == "a"
    assert "\\xff" in slide.problem


def test_a_cohort_table_does_not_hide_the_problem_of_a_file(tmp_path):
    slides = [CohortSlide("%FF", tmp_path / "x.svs", problem="bad name")]
    [slide] = slides_in_cohort(slides, table(tmp_path, "slide_id\n%FF\n"))
    assert slide.problem == "bad name"


def test_a_table_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes("slide_id\nmüller\n".encode("latin-1"))
    with pytest.raises(CohortError, match="not a UTF-8 CSV"):
        read_cohort(path)


def test_ids_in_a_folder_are_relative_paths(tmp_path):
    for name in ("x/a.svs", "y/a.svs", "b c.tiff", "notes.txt", "._b c.tiff", ".a.part.svs"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [s.slide_id for s in read_cohort(tmp_path)] == ["b c", "x/a", "y/a"]


def test_files_with_the_same_stem_keep_their_suffix(tmp_path):
    (tmp_path / "a.svs").touch()
    (tmp_path / "a.tif").touch()
    assert [s.slide_id for s in read_cohort(tmp_path)] == ["a.svs", "a.tif"]


def test_ids_that_are_file_names_become_the_ids_of_a_folder_with_these_files(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("007.svs", "b/x.SVS"):
        (tmp_path / name).touch()
    by_file = read_cohort(table(tmp_path, "wsi,mpp\n007.svs,0.5\nb/x.SVS,\n"))
    assert [(s.slide_id, s.path) for s in by_file] == [(s.slide_id, s.path) for s in read_cohort(tmp_path)]


def test_an_id_that_is_a_feature_file_has_no_slide_path(tmp_path):
    slide = read_cohort(table(tmp_path, "PATIENT,FILENAME\np1,a.b.h5\n"))[0]
    assert (slide.slide_id, slide.path) == ("a.b", None)


def test_ids_of_slides_with_a_path_are_unchanged(tmp_path):
    slide = read_cohort(table(tmp_path, "slide_id,path\na.svs,x.svs\n"))[0]
    assert (slide.slide_id, slide.path) == ("a.svs", tmp_path / "x.svs")


def test_a_table_of_file_names_selects_slides_of_a_folder(tmp_path):
    folder = tmp_path / "slides"
    folder.mkdir()
    for name in ("a.svs", "a.tif", "b.svs"):
        (folder / name).touch()
    selected = slides_in_cohort(read_cohort(folder), table(tmp_path, "wsi\na.svs\na.tif\nb.svs\n"))
    assert [(s.slide_id, s.path) for s in selected] == [
        ("a.svs", folder / "a.svs"),
        ("a.tif", folder / "a.tif"),
        ("b", folder / "b.svs"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        "Slide ID,Patient ID,Label",
        "slide-id,patient-id,LABEL",
        "SlideID,PatientID,Class",
        "slide,Case ID,class label",
        "Slide Name,bcr_patient_barcode,target",
        " wsi ,Subject_ID,label",
        "slide__id,cases.submitter_id,label",
        "\uff33lide_id,PATIENT BARCODE,label",
    ],
)
def test_spaces_punctuation_and_case_of_column_names_do_not_matter(tmp_path, caplog, header):
    slide = read_cohort(table(tmp_path, f"{header}\ns1,p1,LUAD\n"))[0]
    assert (slide.slide_id, slide.patient_id, slide.label) == ("s1", "p1", "LUAD")
    assert not caplog.messages


@pytest.mark.parametrize(
    ("header", "warnings"),
    [
        ("slide_id,pateint_id", ["c.csv: columns that are not read: 'pateint_id' (did you mean patient_id?)"]),
        ("slide_id,age,lable", ["c.csv: columns that are not read: 'lable' (did you mean label?), 'age'"]),
        ("slide_id,patient_id,Case ID", ["c.csv: columns that are not read: 'Case ID' (patient_id is read instead)"]),
        ("slide_id,patient_id,Patients", ["c.csv: columns that are not read: 'Patients'"]),
        (f"slide_id,{'x' * 99}", [f"c.csv: columns that are not read: '{'x' * 40}...'"]),
        (",slide_id,Unnamed: 0", []),
        ("slide_id,patient_id", []),
    ],
)
def test_columns_that_are_not_read_are_named_with_what_was_meant(tmp_path, caplog, header, warnings):
    path = table(tmp_path, f"{header}\n{','.join(f'v{k}' for k in range(header.count(',') + 1))}\n", "c.csv")
    read_cohort(path)
    assert caplog.messages == [f"{tmp_path}/{warning}" for warning in warnings]


def test_a_table_of_many_other_columns_gives_one_short_warning(tmp_path, caplog):
    names = [f"gene{k}" for k in range(200)]
    read_cohort(table(tmp_path, f"slide_id,{','.join(names)},pateint_id\n" + ",".join(["s1", *names, "p1"])))
    assert len(caplog.messages) == 1
    assert "'pateint_id' (did you mean patient_id?), 'gene0'" in caplog.text
    assert caplog.text.rstrip().endswith("'gene8' and 191 more")


def test_a_misspelled_id_column_is_named_in_the_error(tmp_path):
    with pytest.raises(CohortError) as caught:
        read_cohort(table(tmp_path, "slid_id,patient\ns1,p1\n"))
    assert caught.value.hint.startswith("column 'slid_id' (did you mean slide_id?); ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide_id,label,label\na,x,y\n", "columns 2 and 3 have the same name"),
        ("slide_id,Patient ID,patient_id\na,x,y\n", "the columns 'Patient ID' and 'patient_id' both mean patient_id"),
        ("slide_id,label\na,x,y\n", "line 2 has more fields than the header"),
        ("slide_id,mpp\na,0_25\n", "mpp '0_25' is not a positive number"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(tmp_path, text, message):
    with pytest.raises(CohortError, match=message):
        read_cohort(table(tmp_path, text))


def test_two_columns_of_one_name_in_parquet_are_refused(tmp_path):
    columns = pa.table([["a"], ["x"], ["y"]], names=["slide_id", "label", "label"])
    pq.write_table(columns, tmp_path / "c.parquet")
    with pytest.raises(CohortError, match="columns 2 and 3 have the same name"):
        read_cohort(tmp_path / "c.parquet")


@pytest.mark.parametrize("word", ["NA", "N/A", "#N/A", "<NA>", "na", "nan", "NaN", "None", "null", "NULL", "", "  "])
@pytest.mark.parametrize("column", ["patient_id", "mpp", "label", "split", "site"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_words_for_a_missing_value_are_missing_values(tmp_path, word, column, suffix):
    path = tmp_path / f"c.{suffix}"
    if suffix == "csv":
        path.write_text(f"slide_id,{column}\ns1,{word}\n")
    else:
        pq.write_table(pa.table({"slide_id": ["s1"], column: [word]}), path)
    assert read_cohort(path) == [CohortSlide("s1")]


def test_numbers_that_parquet_stores_as_floating_point_keep_their_text(tmp_path):
    columns = {"slide_id": ["a", "b"], "patient_id": [7.0, float("nan")], "label": [1.0, None], "mpp": [0.25, 1.0]}
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    assert read_cohort(tmp_path / "c.parquet") == [
        CohortSlide("a", patient_id="7", label="1", mpp=0.25),
        CohortSlide("b", mpp=1.0),
    ]


def test_a_slide_id_that_is_missing_is_named_by_line(tmp_path):
    with pytest.raises(CohortError, match="line 3 has no slide_id"):
        read_cohort(table(tmp_path, "slide_id,label\na,x\nnan,x\n"))


@pytest.mark.parametrize("column", ["label", "site"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ROUND", "round"),
        ("clear cell", "clear  cell"),
        ("clearcell", "clear cell"),
        ("\u00e9", "e\u0301"),
        ("fi", "\ufb01"),
        ("a\u00a0b", "a b"),
        ("a\u200bb", "ab"),
        ("STRASSE", "stra\u00dfe"),
    ],
)
def test_labels_and_sites_that_are_nearly_equal_are_refused(tmp_path, column, one, other):
    with pytest.raises(CohortError, match=f"the {column}s .* and .* differ only in") as caught:
        read_cohort(table(tmp_path, f"slide_id,{column}\na,{one}\nb,{other}\n"))
    first, second = caught.value.message.partition(f"{column}s ")[2].partition(" differ")[0].split(" and ")
    assert first != second


def test_labels_that_differ_in_a_letter_a_digit_or_punctuation_are_accepted(tmp_path):
    labels = ["grade 1", "grade 2", "HER2+", "HER2-", "LUAD", "LUSC"]
    slides = read_cohort(table(tmp_path, "slide_id,label\n" + "".join(f"{k},{v}\n" for k, v in enumerate(labels))))
    assert [slide.label for slide in slides] == labels


@pytest.mark.parametrize(
    ("patients", "fact"),
    [(["p", "q"], None), ([None, None], "one patient per slide"), (["p", None], "1 of 2 slides have no patient")],
)
def test_slides_without_a_patient_are_a_fact(patients, fact):
    facts = patient_facts([CohortSlide(f"s{k}", patient_id=patient) for k, patient in enumerate(patients)])
    assert facts.get("patients", "").startswith(fact) if fact else facts == {}


def test_patients_with_different_labels_are_a_fact():
    slides = [CohortSlide("a", None, "p", label="B"), CohortSlide("b", None, "p", label="A")]
    assert patient_facts([*slides, CohortSlide("c", None, "p"), CohortSlide("d", None, "q", label="A")]) == {
        "patients_with_different_labels": "1, for example 'p' (A, B)"
    }


def reads_or_refuses(path):
    try:
        slides = read_cohort(path)
    except FiveError:
        return
    assert all(slide.slide_id and "\0" not in slide.slide_id and slide.label != "" for slide in slides)
    assert len({slide.slide_id for slide in slides}) == len(slides) > 0


@given(data=st.binary(max_size=200))
def test_any_bytes_as_csv_give_slides_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("csv") / "c.csv"
    path.write_bytes(data)
    reads_or_refuses(path)


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_a_path_without_a_file_name_is_a_problem_of_its_own_slide(tmp_path, path):
    table = tmp_path / "c.csv"
    table.write_text(f"path\n{path}\na.svs\n")
    bad, good = read_cohort(table)
    assert "the name" in bad.problem
    assert (good.slide_id, good.problem) == ("a", None)


@given(
    header=st.lists(st.sampled_from(["slide_id", "path", "Patient ID", "mpp", "label", "site", "x", ""]), max_size=6),
    data=st.binary(max_size=200) | st.text(alphabet=',"\n\r\0 ab1./\u2028', max_size=60).map(str.encode),
)
def test_any_bytes_below_a_good_header_give_slides_or_an_error(tmp_path_factory, header, data):
    path = tmp_path_factory.mktemp("csv") / "c.csv"
    path.write_bytes(",".join(header).encode() + b"\n" + data)
    reads_or_refuses(path)


@given(data=st.binary(max_size=300), at=st.integers(0, 2000))
def test_a_damaged_parquet_table_gives_slides_or_an_error(tmp_path_factory, data, at):
    path = tmp_path_factory.mktemp("parquet") / "c.parquet"
    pq.write_table(pa.table({"slide_id": ["a", "b"], "label": ["x", "y"]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: at % len(whole)] + data + whole[at % len(whole) + len(data) :])
    reads_or_refuses(path)
