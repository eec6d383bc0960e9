import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import ArtifactError
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import METRICS, PREDICTIONS, TABLES
from pipelines.core.settings import TileSettings

PROVENANCE = Provenance.of(TileSettings(), "0123")
ROW = {"epoch": 1, "split": "val", "name": "loss", "value": 0.5}


def test_rows_are_read_back_unchanged(tmp_path):
    METRICS.write(tmp_path / "m.parquet", [ROW], PROVENANCE)
    assert METRICS.read_rows(tmp_path / "m.parquet") == [ROW]


def test_a_table_stores_its_provenance(tmp_path):
    METRICS.write(tmp_path / "m.parquet", [ROW], PROVENANCE)
    assert METRICS.provenance(tmp_path / "m.parquet") == PROVENANCE


def test_the_error_for_a_missing_file_names_the_command_that_writes_it(tmp_path):
    with pytest.raises(ArtifactError, match="no such file") as caught:
        METRICS.read(tmp_path / "m.parquet")
    assert "five train" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"PAR1 no table", b"x" * 1000])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "m.parquet"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"m\.parquet: not a readable Parquet file"):
        METRICS.read(path)


def test_a_truncated_table_is_not_current(tmp_path):
    path = tmp_path / "m.parquet"
    METRICS.write(path, [ROW] * 100, PROVENANCE)
    path.write_bytes(path.read_bytes()[:-10])
    assert not METRICS.is_current(path, PROVENANCE)


def test_a_table_of_another_kind_is_refused(tmp_path):
    PREDICTIONS.write(tmp_path / "p.parquet", [], PROVENANCE)
    with pytest.raises(ArtifactError, match="this is the table 'predictions'"):
        METRICS.read(tmp_path / "p.parquet")


def test_a_foreign_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"epoch": [1]}), tmp_path / "f.parquet")
    with pytest.raises(ArtifactError, match="this is the table 'none'"):
        METRICS.read(tmp_path / "f.parquet")


def test_a_column_of_another_type_is_refused(tmp_path):
    table = pa.table({"epoch": ["one"], "split": ["val"], "name": ["loss"], "value": [0.5]})
    METRICS.write(tmp_path / "m.parquet", table, PROVENANCE)
    with pytest.raises(ArtifactError, match="column 'epoch' is string, expected int32"):
        METRICS.read(tmp_path / "m.parquet")


def test_a_table_of_a_later_version_requires_an_update(tmp_path):
    later = type(METRICS)(METRICS.name, METRICS.made_by, METRICS.columns, version=2)
    later.write(tmp_path / "m.parquet", [ROW], PROVENANCE)
    with pytest.raises(ArtifactError) as caught:
        METRICS.read(tmp_path / "m.parquet")
    assert caught.value.hint == "update five-wsi"


@pytest.mark.parametrize(
    ("other", "current"),
    [
        (Provenance.of(TileSettings(), "0123"), True),
        (Provenance.of(TileSettings(tile_size=256), "0123"), False),
        (Provenance.of(TileSettings(), "4567"), False),
    ],
    ids=["same", "other settings", "other input"],
)
def test_a_table_is_current_for_the_same_settings_and_input(tmp_path, other, current):
    METRICS.write(tmp_path / "m.parquet", [ROW], PROVENANCE)
    assert METRICS.is_current(tmp_path / "m.parquet", other) is current


def test_columns_of_a_family_may_have_any_class_name(tmp_path):
    row = {"slide_id": "s", "predicted": "a/b", "prob_a/b": 0.75, "prob_c": 0.25}
    PREDICTIONS.write(tmp_path / "p.parquet", [row], PROVENANCE)
    table = PREDICTIONS.read(tmp_path / "p.parquet")
    assert table["prob_a/b"].to_pylist() == [0.75]


def test_an_undeclared_column_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="unknown column color"):
        METRICS.write(tmp_path / "m.parquet", [{**ROW, "color": 1}], PROVENANCE)


@pytest.mark.parametrize("table", TABLES, ids=lambda t: t.name)
def test_every_column_has_a_meaning(table):
    assert all(field.metadata[b"meaning"] for field in table.columns)
