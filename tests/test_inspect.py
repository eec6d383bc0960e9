import json
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.attention_file import AttentionMaps, write_attention
from pipelines.core.errors import ArtifactError, SlideError
from pipelines.core.files import fingerprint
from pipelines.core.folder import claim_folder
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import ANSWERS, METRICS, PREDICTIONS, SLIDE_ANSWERS, TILED_SLIDES, TILES
from pipelines.inspect import inspect
from tests.slide_files import write_lossless_slide
from tests.synthetic_features import write_bag

WORK = Provenance({"tile_size": 224}, "feed", "9.9")
SECRET = "Jane Doe, keratin pearls"


def show(path, *flags):
    """Return the output of ``five inspect``."""
    result = CliRunner().invoke(app, ["inspect", str(path), *flags])
    assert result.exit_code == 0, result.output
    return result.output


class TestSlide:
    @pytest.fixture
    def pixels(self):
        return np.full((512, 768, 3), 200, np.uint8)

    def test_levels_and_resolution_are_shown(self, tmp_path, pixels):
        contents = inspect(write_lossless_slide(tmp_path / "a.tiff", pixels, 0.25, levels=(1, 4)))
        assert contents.what == "slide"
        assert (contents.facts["width"], contents.facts["height"]) == (768, 512)
        assert contents.facts["mpp_x"] == pytest.approx(0.25)
        assert (contents.facts["mpp_source"], contents.facts["mpp_conflict"]) == ("tiff-tags", None)
        assert contents.facts["file_bytes"] == (tmp_path / "a.tiff").stat().st_size
        assert [(row["width"], row["height"]) for row in contents.lists["levels"]] == [(768, 512), (192, 128)]
        assert [row["mpp"] for row in contents.lists["levels"]] == pytest.approx([0.25, 1.0])

    def test_a_missing_mpp_is_shown_with_its_remedy(self, tmp_path, pixels):
        contents = inspect(write_lossless_slide(tmp_path / "a.tiff", pixels, None))
        assert contents.facts["mpp"] is None
        assert "--mpp 0.25" in contents.facts["mpp_remedy"]
        assert contents.lists["levels"][0]["mpp"] is None

    def test_free_text_of_the_file_is_not_shown(self, tmp_path, pixels):
        path = tmp_path / "a.tiff"
        tifffile.imwrite(path, pixels, tile=(256, 256), photometric="rgb", metadata=None, description=SECRET)
        assert "Jane" not in show(path) + show(path, "--json")

    def test_a_damaged_slide_raises_a_slide_error(self, tmp_path):
        (tmp_path / "a.svs").write_bytes(b"II*\0 cut")
        with pytest.raises(SlideError, match=r"a\.svs"):
            inspect(tmp_path / "a.svs")


class TestTable:
    def test_columns_provenance_and_counts_of_slides_are_shown(self, tmp_path):
        rows = [{"slide_id": str(k), "status": "ok", "vendor": "aperio"} for k in range(3)]
        rows += [
            {"slide_id": f"bad-{k}", "status": "failed", "error_type": "SlideError", "error": f"why {k}"}
            for k in range(7)
        ]
        TILED_SLIDES.write(tmp_path / "slides.parquet", rows, WORK)
        contents = inspect(tmp_path / "slides.parquet")
        assert contents.what == "table tiled_slides"
        assert (contents.facts["version"], contents.facts["rows"], contents.facts["five_version"]) == (2, 10, "9.9")
        assert (contents.facts["input_fingerprint"], contents.settings) == ("feed", {"tile_size": 224})
        assert contents.counts["status"] == [{"status": "failed", "n": 7}, {"status": "ok", "n": 3}]
        assert {"vendor": None, "n": 7} in contents.counts["vendor"]
        assert {"column": "n_tiles", "type": "int32", "meaning": "tiles kept"} in contents.lists["columns"]
        failures = contents.lists["first_failures"]
        assert [row["error"] for row in failures] == ["why 0", "why 1", "why 2", "why 3", "why 4"]
        assert failures[0] == {"slide_id": "bad-0", "error_type": "SlideError", "error": "why 0"}

    def test_tiles_are_counted_by_reason_and_the_patient_is_not_named(self, tmp_path):
        rows = [{"keep": True}] * 2 + [{"keep": False, "reason": "white"}] * 3
        row = {"slide_id": "s", "patient_id": "Jane", "effective_mpp": 0.5}
        TILES.write(tmp_path / "s.parquet", rows, WORK, notes={"five.row": json.dumps(row)})
        contents = inspect(tmp_path / "s.parquet")
        assert contents.counts["keep"] == [{"keep": "false", "n": 3}, {"keep": "true", "n": 2}]
        assert contents.counts["reason"] == [{"reason": None, "n": 2}, {"reason": "white", "n": 3}]
        assert contents.facts["effective_mpp"] == 0.5
        assert "Jane" not in show(tmp_path / "s.parquet", "--json")

    def test_answers_are_counted_by_question_without_showing_report_text(self, tmp_path):
        path = tmp_path / "answers.parquet"
        quoted = {"report_id": "r", "description": SECRET, "evidence": SECRET, "value": SECRET, "grounded": True}
        statuses = [("growth", "present"), ("growth", "present"), ("growth", "absent"), ("margin", "unknown")]
        ANSWERS.write(path, [{**quoted, "question_id": q, "status": s} for q, s in statuses], WORK)
        assert inspect(path).counts["question_id and status"] == [
            {"question_id": "growth", "status": "absent", "n": 1},
            {"question_id": "growth", "status": "present", "n": 2},
            {"question_id": "margin", "status": "unknown", "n": 1},
        ]
        shown = show(path)
        assert SECRET not in shown + show(path, "--json")
        grid = [line.replace("│", " ").split() for line in shown.splitlines()]
        assert ["growth", "1", "2", "0"] in grid
        assert ["margin", "0", "0", "1"] in grid

    def test_predictions_are_counted_by_split_and_class(self, tmp_path):
        rows = [{"split": "test", "predicted": c, "label": "A", f"prob_{c}": 1.0} for c in "AAB"]
        PREDICTIONS.write(tmp_path / "predictions.parquet", rows, WORK)
        assert inspect(tmp_path / "predictions.parquet").counts == {
            "split and predicted": [
                {"split": "test", "predicted": "A", "n": 2},
                {"split": "test", "predicted": "B", "n": 1},
            ],
            "split and label": [{"split": "test", "label": "A", "n": 3}],
        }

    def test_answers_of_slides_are_counted_by_question_and_answer(self, tmp_path):
        rows = [{"question_id": "growth", "answer": a, "preferred": a == "rings"} for a in ("rings", "rings", "none")]
        SLIDE_ANSWERS.write(tmp_path / "slide_answers.parquet", rows, WORK)
        grid = [line.replace("│", " ").split() for line in show(tmp_path / "slide_answers.parquet").splitlines()]
        assert ["growth", "none", "false", "1"] in grid
        assert ["growth", "rings", "true", "2"] in grid

    def test_metrics_show_the_last_epoch_and_nan_becomes_null_in_json(self, tmp_path):
        values = [(1, 0.5), (2, float("nan"))]
        rows = [{"epoch": epoch, "split": "val", "name": "auc", "value": value} for epoch, value in values]
        METRICS.write(tmp_path / "metrics.parquet", rows, WORK)
        from_json = json.loads(show(tmp_path / "metrics.parquet", "--json"), parse_constant=pytest.fail)
        assert from_json["lists"]["last_epoch"] == [{"epoch": 2, "split": "val", "name": "auc", "value": None}]

    def test_a_truncated_table_is_reported_as_damaged(self, tmp_path):
        (tmp_path / "slides.parquet").write_bytes(b"PAR1 cut")
        with pytest.raises(ArtifactError, match="damaged"):
            inspect(tmp_path / "slides.parquet")


def crash(_path, _answer):
    os.kill(os.getpid(), signal.SIGSEGV)


class TestHdf5:
    def test_features_are_described_and_checked(self, tmp_path):
        features = np.zeros((9, 4))
        features[2, 1], features[7, 0] = np.nan, np.inf
        write_bag(tmp_path, "s", features)
        contents = inspect(tmp_path / "s.h5")
        assert contents.what == "feature file"
        shown = {name: contents.facts[name] for name in ("tiles", "dim", "dtype", "encoder", "tile_size", "mpp_x")}
        assert shown == {"tiles": 9, "dim": 4, "dtype": "float16", "encoder": "toy", "tile_size": 224, "mpp_x": 0.25}
        assert (contents.facts["rows_checked"], contents.facts["rows_not_finite"]) == (9, 2)

    def test_many_rows_are_sampled_from_the_whole_file(self, tmp_path):
        features = np.zeros((5000, 2))
        features[4000:] = np.nan  # the last fifth
        write_bag(tmp_path, "s", features)
        facts = inspect(tmp_path / "s.h5").facts
        assert facts["rows_checked"] == 1000
        assert facts["rows_not_finite"] == 200

    def test_a_slide_without_tiles_is_described(self, tmp_path):
        write_bag(tmp_path, "s", np.zeros((0, 4)))
        facts = inspect(tmp_path / "s.h5").facts
        assert (facts["tiles"], facts["rows_checked"], facts["rows_not_finite"]) == (0, 0, 0)

    def test_attention_is_described_and_its_sums_checked(self, tmp_path):
        weights = np.array([[0.25, 0.75], [0.5, 0.75]])
        write_attention(
            tmp_path / "a.h5",
            AttentionMaps(weights, ["growth", "margin"], np.zeros((2, 2), int), 448, np.zeros((0, 2)), []),
            WORK,
        )
        contents = inspect(tmp_path / "a.h5")
        assert contents.what == "attention file"
        assert (contents.facts["tiles"], contents.facts["prompts"]) == (2, ["growth", "margin"])
        assert (contents.facts["tile_size_level0"], contents.facts["rows_that_sum_to_1"]) == (448, 1)

    @pytest.mark.parametrize("shape", [(5, 3), (1, 5, 3)])
    def test_features_of_trident_are_described_as_such(self, tmp_path, shape):
        with h5py.File(tmp_path / "t.h5", "w") as h5:
            h5["features"] = np.zeros(shape, np.float32)
            h5["coords"] = np.zeros((5, 2), int)
            h5["coords"].attrs.update({"patch_size": 256, "name": "Jane", "savetodir": "/home/jane"})
        contents = inspect(tmp_path / "t.h5")
        assert contents.what == "feature file of another program (the layout of TRIDENT and CLAM)"
        assert (contents.facts["tiles"], contents.facts["dim"], contents.facts["tile_size"]) == (5, 3, 256)
        assert "five embed" in contents.facts["not_for_five"]
        assert "jane" not in show(tmp_path / "t.h5", "--json").lower()

    @pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n cut", b"", b"text"])
    def test_a_truncated_file_is_reported_as_damaged(self, tmp_path, content):
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"a\.h5: (damaged|not a readable HDF5 file)"):
            inspect(tmp_path / "a.h5")

    def test_a_changed_row_is_reported_as_damaged(self, tmp_path):
        write_bag(tmp_path, "s", np.ones((3000, 2)))
        with h5py.File(tmp_path / "s.h5", "r+") as h5:
            h5["features"][1001] = 2
        with pytest.raises(ArtifactError, match=r"s\.h5: damaged, or changed by another program"):
            inspect(tmp_path / "s.h5")

    def test_a_file_that_crashes_the_hdf5_library_is_reported_as_damaged(self, tmp_path, monkeypatch):
        (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
        monkeypatch.setattr("pipelines.contents.foreign_hdf5._describe", crash)
        with pytest.raises(ArtifactError, match="the HDF5 library crashes"):
            inspect(tmp_path / "a.h5")

    def test_an_hdf5_file_without_features_is_refused(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as h5:
            h5["coords"] = np.zeros((5, 2), int)
        with pytest.raises(ArtifactError, match="without features or attention"):
            inspect(tmp_path / "a.h5")


class TestFolder:
    @pytest.fixture
    def tiles(self, tmp_path):
        """Return a folder of ``five tile`` with two slides, a held and an abandoned lock, and a temporary file."""
        folder = tmp_path / "tiles"
        claim_folder(folder, "five tile", WORK)
        TILED_SLIDES.write(folder / "slides.parquet", [{"slide_id": "a", "status": "ok"}], WORK)
        for slide_id in ("a", "sub/b"):
            TILES.write(folder / f"{slide_id}.parquet", [{"keep": True}], WORK)
        (folder / ".locks").mkdir()
        for name, age in (("a.lock", 0), ("b.lock", 3600)):
            lock = folder / ".locks" / name
            lock.touch()
            os.utime(lock, (time.time() - age,) * 2)
        (folder / f".c-x.{fingerprint('elsewhere')}-7.part.parquet").write_bytes(b"half")
        return folder

    def test_files_locks_and_leftovers_are_counted(self, tiles):
        contents = inspect(tiles)
        assert (contents.what, contents.facts["made_by"], contents.settings) == (
            "output folder",
            "five tile",
            WORK.settings,
        )
        assert contents.facts["locks_held"] == 1
        assert contents.facts["locks_abandoned"] == 1
        assert contents.facts["temporary_files"] == 1
        numbers = {row["files"]: row["n"] for row in contents.lists["files"]}
        assert numbers == {"*.parquet": 2, "five.json": 1, "slides.parquet": 1}
        complete = [tiles / name for name in ("a.parquet", "sub/b.parquet", "five.json", "slides.parquet")]
        assert contents.facts["bytes"] == sum(path.stat().st_size for path in complete)

    def test_rows_of_its_tables_are_counted(self, tiles):
        assert inspect(tiles).counts["slides.parquet: status"] == [{"status": "ok", "n": 1}]

    def test_the_folder_is_not_modified(self, tiles):
        before = {path: path.stat().st_mtime_ns for path in tiles.rglob("*")}
        inspect(tiles)
        assert {path: path.stat().st_mtime_ns for path in tiles.rglob("*")} == before

    def test_screen_and_json_show_the_same_values(self, tiles):
        shown, from_json = show(tiles), json.loads(show(tiles, "--json"))
        assert "slides.parquet: status: 1 ok" in shown
        assert from_json["counts"]["slides.parquet: status"] == [{"status": "ok", "n": 1}]
        for name, value in from_json["facts"].items():
            if name != "bytes":
                assert any(line.split() == [*name.split("_"), *str(value).split()] for line in shown.splitlines()), name

    def test_a_damaged_claim_is_an_error(self, tiles):
        (tiles / "five.json").write_text("{")
        with pytest.raises(ArtifactError, match="damaged"):
            inspect(tiles)


@pytest.mark.parametrize("name", ["notes.csv", "model.safetensors", "folder"])
def test_other_paths_are_refused_with_a_hint_that_lists_what_can_be_inspected(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name == "folder" else path.write_text(SECRET)
    with pytest.raises(ArtifactError, match=rf"{name}: not ") as raised:
        inspect(path)
    assert "give a slide" in raised.value.hint
    assert SECRET not in raised.value.message


def test_a_parquet_file_of_another_program_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [SECRET]}), tmp_path / "reports.parquet")
    with pytest.raises(ArtifactError, match="another program wrote this file"):
        inspect(tmp_path / "reports.parquet")


def test_torch_is_not_loaded():
    code = "import sys, pipelines.inspect; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestOutlines:
    def test_polygons_holes_and_area_are_shown(self, tmp_path):
        square = [[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]
        hole = [[2, 2], [2, 4], [5, 4], [5, 2], [2, 2]]
        tissue = {"geometry": {"type": "Polygon", "coordinates": [square, hole]}}
        tissue["properties"] = {"classification": {"name": "Tissue"}}
        point = {"geometry": {"type": "Point", "coordinates": [1, 1]}, "properties": {}}
        (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [tissue, point]}))
        contents = inspect(tmp_path / "a.geojson")
        assert contents.facts == {"features": 2, "polygons": 1, "holes": 1, "corners": 8, "area_in_pixels": 94}
        assert contents.counts == {"class": [{"class": "Tissue", "n": 1}, {"class": None, "n": 1}]}
        assert "94" in show(tmp_path / "a.geojson")

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"features": [{"geometry": null}]}'])
    def test_other_json_is_refused(self, tmp_path, content):
        (tmp_path / "a.geojson").write_text(content)
        with pytest.raises(ArtifactError, match="not GeoJSON"):
            inspect(tmp_path / "a.geojson")
