from pathlib import Path
from unittest.mock import Mock

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
    with pytest.raises(ArtifactError, match=r"m\.parquet: damaged") as caught:
        METRICS.read(path)
    assert caught.value.hint == "delete it and run `five train` again"


def read_in_every_way(path):
    """Yield the error, or None, of each way to read a table."""
    for read in (METRICS.read, METRICS.read_rows, METRICS.notes, METRICS.provenance):
        try:
            read(path)
            yield None
        except ArtifactError as error:
            yield error


def damage_of(content):
    """Yield a name and the bytes of a file for each kind of damage."""
    yield from ((f"cut at {n}", content[:n]) for n in (0, 3, 8, len(content) // 2, len(content) - 1))
    for place in range(0, len(content), 512):
        yield f"zeros at {place}", content[:place] + bytes(len(content[place : place + 512])) + content[place + 512 :]
    for bit in range(0, 8 * len(content), 37):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(flipped)


def test_every_damage_is_noticed_in_every_way_to_read(tmp_path):
    path = tmp_path / "m.parquet"
    METRICS.write(path, [{**ROW, "epoch": epoch} for epoch in range(100)], PROVENANCE)
    assert list(read_in_every_way(path)) == [None] * 4
    for name, content in damage_of(path.read_bytes()):
        path.write_bytes(content)
        assert all(error is not None and error.hint for error in read_in_every_way(path)), name
        assert not METRICS.is_current(path, PROVENANCE), name


def test_a_table_is_read_from_disk_once(tmp_path, monkeypatch):
    METRICS.write(tmp_path / "m.parquet", [ROW], PROVENANCE)
    reads = []
    monkeypatch.setattr(Path, "read_bytes", lambda path, read=Path.read_bytes: reads.append(path) or read(path))
    assert METRICS.is_current(tmp_path / "m.parquet", PROVENANCE)
    assert len(reads) == 1


def test_other_programs_read_a_table(tmp_path):
    METRICS.write(tmp_path / "m.parquet", [ROW] * 3, PROVENANCE)
    assert pq.read_table(tmp_path / "m.parquet", page_checksum_verification=True).to_pylist() == [ROW] * 3


def test_a_table_that_another_program_wrote_again_is_refused(tmp_path):
    path = tmp_path / "m.parquet"
    METRICS.write(path, [ROW] * 3, PROVENANCE)
    pq.write_table(pq.read_table(path), path)
    with pytest.raises(ArtifactError, match="changed by another program"):
        METRICS.read(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(ArtifactError, match="no digest; an earlier version of five or another program"):
        METRICS.read(path)


def test_a_cell_that_looks_like_a_digest_is_not_taken_for_the_digest(tmp_path):
    entry = "five.digest\x18\x40" + "f" * 64
    METRICS.write(tmp_path / "m.parquet", [{**ROW, "name": entry}], PROVENANCE, notes={"before": entry, "x": entry})
    assert METRICS.read_rows(tmp_path / "m.parquet")[0]["name"] == entry
    assert METRICS.notes(tmp_path / "m.parquet")["x"] == entry


@pytest.mark.parametrize("kind", ["folder", "no permission"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, kind, monkeypatch):
    path = tmp_path / "m.parquet"
    path.mkdir()
    if kind == "no permission":
        monkeypatch.setattr(Path, "read_bytes", Mock(side_effect=PermissionError(13, "Permission denied")))
    with pytest.raises(ArtifactError, match=r"cannot be read \((Is a directory|Permission denied)\)"):
        METRICS.read(path)


def test_a_table_of_another_kind_is_refused(tmp_path):
    PREDICTIONS.write(tmp_path / "p.parquet", [], PROVENANCE)
    with pytest.raises(ArtifactError, match="this is the table 'predictions'"):
        METRICS.read(tmp_path / "p.parquet")


def test_a_foreign_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"epoch": [1]}), tmp_path / "f.parquet")
    with pytest.raises(ArtifactError, match="another program wrote this file"):
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
