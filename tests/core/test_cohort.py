from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.cohort import read_cohort, slides_in_cohort
from pipelines.core.errors import CohortError


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
        ("slide_id\n../../etc/x\n", "not a valid relative path"),
        ("slide_id\n/etc/x\n", "not a valid relative path"),
        ("slide_id\na//b\n", "not a valid relative path"),
        ("slide_id\na/\n", "not a valid relative path"),
        ("slide_id\nslides\n", "reserved for the summary tables"),
    ],
)
def test_a_bad_table_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(CohortError, match=message):
        read_cohort(table(tmp_path, text))


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
