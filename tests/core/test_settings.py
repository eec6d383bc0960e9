import dataclasses

import pytest

from pipelines.core.errors import SettingsError
from pipelines.core.settings import TileSettings, load_settings


def test_values_of_a_file_become_settings():
    assert load_settings(TileSettings, {"tile_size": 256}, source="tile.yaml").tile_size == 256


@pytest.mark.parametrize(
    ("values", "complaint"),
    [({"tilesize": 256}, "tile.yaml: tilesize"), ({"tile_size": "large"}, "tile.yaml: tile_size")],
    ids=["unknown key", "wrong type"],
)
def test_what_is_wrong_in_a_file_is_named(values, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load_settings(TileSettings, values, source="tile.yaml")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TileSettings().tile_size = 3


def test_any_changed_setting_changes_the_fingerprint():
    assert TileSettings().fingerprint != TileSettings(overlap=1).fingerprint
    assert TileSettings().fingerprint == TileSettings().fingerprint
