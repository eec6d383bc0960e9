import json
import os
import subprocess
import sys

import pytest

from pipelines.core.errors import ArtifactError, ChangedSettingsError
from pipelines.core.files import part_suffix
from pipelines.core.folder import claim_folder, read_claim, update_table
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TILED_SLIDES
from pipelines.core.settings import TileSettings

SMALL = Provenance.of(TileSettings(tile_size=224))
LARGE = Provenance.of(TileSettings(tile_size=256))


def test_a_rerun_with_the_same_settings_is_allowed(tmp_path):
    claim_folder(tmp_path, "five tile", SMALL)
    claim_folder(tmp_path, "five tile", SMALL)


def test_changed_settings_are_refused_and_listed(tmp_path):
    claim_folder(tmp_path, "five tile", SMALL)
    with pytest.raises(ChangedSettingsError, match="tile_size 224 -> 256") as caught:
        claim_folder(tmp_path, "five tile", LARGE)
    assert "--overwrite" in caught.value.hint


def test_overwrite_records_the_new_settings(tmp_path):
    claim_folder(tmp_path, "five tile", SMALL)
    claim_folder(tmp_path, "five tile", LARGE, overwrite=True)
    assert json.loads((tmp_path / "five.json").read_text())["settings"]["tile_size"] == 256


def test_the_folder_of_another_stage_is_never_overwritten(tmp_path):
    claim_folder(tmp_path, "five tile", SMALL)
    with pytest.raises(ChangedSettingsError, match="output of `five tile`"):
        claim_folder(tmp_path, "five embed", SMALL, overwrite=True)


UNSEALED = json.dumps({"made_by": "five tile", "five_version": "0.1.0", "settings": SMALL.settings})


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "\0" * 40, UNSEALED, '{"digest": "44136fa355b3678a"}'])
def test_a_damaged_record_is_refused_with_a_hint(tmp_path, content):
    (tmp_path / "five.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"five\.json: damaged, or written by an earlier version") as caught:
        claim_folder(tmp_path, "five tile", SMALL)
    assert caught.value.hint == "delete it and run the command again"


def test_a_changed_setting_in_the_record_is_noticed(tmp_path):
    claim_folder(tmp_path, "five tile", SMALL)
    changed = (tmp_path / "five.json").read_text().replace("224", "225")
    (tmp_path / "five.json").write_text(changed)
    with pytest.raises(ArtifactError, match=r"five\.json: damaged"):
        read_claim(tmp_path)


def test_a_record_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"five\.json: no such file"):
        read_claim(tmp_path)
    (tmp_path / "five.json").mkdir()
    with pytest.raises(ArtifactError, match=r"five\.json: cannot be read \(Is a directory\)"):
        read_claim(tmp_path)


def test_a_folder_that_cannot_be_created_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="cannot write here"):
        claim_folder(tmp_path / "file" / "out", "five tile", SMALL)


def test_a_run_on_some_slides_keeps_the_rows_of_other_slides(tmp_path):
    path = tmp_path / "slides.parquet"
    update_table(
        TILED_SLIDES,
        path,
        [{"slide_id": "a", "status": "ok"}, {"slide_id": "b", "status": "failed"}],
        "slide_id",
        SMALL,
    )
    update_table(TILED_SLIDES, path, [{"slide_id": "b", "status": "ok"}], "slide_id", SMALL)
    assert {r["slide_id"]: r["status"] for r in TILED_SLIDES.read_rows(path)} == {"a": "ok", "b": "ok"}


def test_a_leftover_of_a_run_that_was_killed_before_it_claimed_the_folder_is_removed(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    left = tmp_path / f".five-0123{part_suffix().replace(str(os.getpid()), ended.stdout.decode().strip())}.json"
    left.write_text("{")
    claim_folder(tmp_path, "five tile", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["five.json"]
