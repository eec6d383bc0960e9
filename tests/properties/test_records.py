"""Configuration, five.json, manifest.json and the journal, edited or damaged; and environment variables."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.errors import FiveError
from pipelines.core.folder import claim_folder, read_claim, refuse_other_settings
from pipelines.core.provenance import Provenance
from pipelines.core.run_manifest import RunManifest
from pipelines.core.settings import TileSettings
from pipelines.reports.journal import Journal
from pipelines.slides.readers.fast_tiff import READER_VARIABLE
from pipelines.slides.slide import open_slide
from tests.properties.damage import damaged, json_values, odd_text
from tests.properties.readers import check_message, examples, reads_or_refuses
from tests.run_manifests import mark_complete

MADE = Provenance.of(TileSettings(), "0123")
RECORDS = [{"report_id": f"r{n}", "work": "1", "status": "ok", "answers": [{"evidence": "a"}]} for n in range(3)]


def claim(folder):
    return read_claim(folder), refuse_other_settings(folder, "five tile", MADE)


def journal(folder):
    return Journal(folder).records


def write_claim(folder):
    claim_folder(folder, "five tile", MADE)


def write_journal(folder):
    with Journal(folder) as made:
        for record in RECORDS:
            made.append(record)


READERS = {
    "five.json": (write_claim, claim),
    "manifest.json": (mark_complete, RunManifest.read),
    "journal.jsonl": (write_journal, journal),
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
@examples(100)
def test_a_damaged_record_is_not_used(tmp_path_factory, name, data):
    write, read = READERS[name]
    folder = tmp_path_factory.mktemp("record")
    write(folder)
    expected, content = read(folder), (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(damaged(content) | st.binary(max_size=200)))
    found = reads_or_refuses(read, folder)
    if name == "journal.jsonl":
        assert all(record in expected for record in found)
    else:
        assert found in (None, expected)


@pytest.mark.parametrize("name", READERS)
@given(content=json_values)
@examples(60)
def test_other_json_is_not_used(tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("record")
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    assert not reads_or_refuses(READERS[name][1], folder)


def check_command(folder, *arguments, env=None):
    """Run `five tile` on an empty folder: it must end with a `FiveError`, or with the usage error of an option."""
    (folder / "slides").mkdir(exist_ok=True)
    result = CliRunner().invoke(app, ["tile", str(folder / "slides"), "-o", str(folder / "out"), *arguments], env=env)
    if isinstance(result.exception, FiveError):
        check_message(result.exception.message)
    else:
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == 2
    assert not (folder / "out").exists()


OPTIONS = ["tile_size", "target_mpp", "min-tissue", "keep_all", "workers", "masks", "only", "shard", "config", "output"]


@given(values=st.dictionaries(st.sampled_from(OPTIONS) | odd_text, json_values, max_size=3))
@examples(60)
def test_any_values_in_a_configuration_file_give_one_error(tmp_path, values):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    check_command(tmp_path, "--config", str(tmp_path / "a.yaml"))


@given(content=damaged(b"tile_size: 300\nonly: [a, b]\nkeep_all: true\n") | st.binary(max_size=100))
@examples(60)
def test_any_damage_to_a_configuration_file_gives_one_error(tmp_path, content):
    (tmp_path / "a.yaml").write_bytes(content)
    check_command(tmp_path, "--config", str(tmp_path / "a.yaml"))


@given(name=st.sampled_from(OPTIONS), value=odd_text.filter(lambda text: "\0" not in text))
@examples(60)
def test_any_environment_variable_gives_one_error(tmp_path, name, value):
    check_command(tmp_path, env={f"FIVE_TILE_{name.upper().replace('-', '_')}": value})


@given(value=odd_text.filter(lambda text: "\0" not in text and text not in ("", "auto", "openslide")))
@examples(30)
def test_an_unknown_reader_in_the_environment_is_an_error(tmp_path, value):
    (tmp_path / "a.tif").write_bytes(b"II*\0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(READER_VARIABLE, value)
        assert reads_or_refuses(open_slide, tmp_path / "a.tif") is None
