"""Feature files name the space that they share with texts."""

import json

import pytest
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.errors import ChangedSettingsError
from pipelines.core.feature_file import read_header
from pipelines.core.settings import EmbedSettings
from pipelines.embed import EmbedInputs, embed
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.preset import Preset
from pipelines.encoders.text_tower import load_text_tower
from tests.embedding import tile_slides
from tests.encoders.test_own_encoder import BRIGHTNESS, COLOR_WORDS

ENCODER = BRIGHTNESS.replace("tile_size = 64", "tile_size = 112").replace("mpp = (0.5, 1.0)", "mpp = None")


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    return tile_slides(tmp_path_factory.mktemp("slides"), ["a"])


def embedded(tiles, folder, code):
    file = folder / "own.py"
    file.write_text(code)
    embed(EmbedInputs(tiles), folder / "features", EmbedSettings(encoder=str(file)))
    return file


def test_features_of_a_joint_encoder_name_the_space_of_its_text_tower(tiles, tmp_path):
    file = embedded(tiles, tmp_path, ENCODER + COLOR_WORDS)
    header = read_header(tmp_path / "features/a.h5")
    assert header.info.space == load_text_tower(find_preset(str(file))).space
    assert header.info.encoder == "own.py"
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "features/a.h5"), "--json"])
    assert json.loads(shown.stdout)["facts"]["space"] == header.info.space


def test_features_without_a_text_tower_are_in_no_shared_space(tiles, tmp_path):
    embedded(tiles, tmp_path, ENCODER)
    assert read_header(tmp_path / "features/a.h5").info.space == ""


def test_embedding_does_not_load_the_text_tower(tiles, tmp_path):
    broken = COLOR_WORDS.replace("self.colors =", "raise ValueError('loaded')\n        self.colors =")
    embedded(tiles, tmp_path, ENCODER + broken)
    assert read_header(tmp_path / "features/a.h5").info.space


def test_a_changed_space_is_noticed(tiles, tmp_path, monkeypatch):
    """A text tower that is described in another way is in another space, although weights and images are the same."""
    file = embedded(tiles, tmp_path, ENCODER + COLOR_WORDS)
    monkeypatch.setattr(Preset, "space", lambda *_: "own.py 00000000")
    with pytest.raises(ChangedSettingsError, match="space"):
        embed(EmbedInputs(tiles), tmp_path / "features", EmbedSettings(encoder=str(file)))
