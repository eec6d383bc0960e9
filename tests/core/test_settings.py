import dataclasses

import pytest

from pipelines.core.errors import SettingsError
from pipelines.core.settings import (
    EvaluateDescriptionsSettings,
    EvaluateSettings,
    Limits,
    TileSettings,
    TrainSettings,
    field_rules,
    load_settings,
)
from pipelines.core.settings.model import ModelSettings


def test_values_from_a_file_become_settings():
    assert load_settings(TileSettings, {"tile_size": 256}, source="tile.yaml").tile_size == 256


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"tilesize": 256}, "tile.yaml: tilesize"),
        ({"tile_size": "large"}, "tile.yaml: tile_size"),
        ({"tissue_method": "guess"}, "tile.yaml: tissue_method"),
    ],
    ids=["unknown key", "wrong type", "unknown choice"],
)
def test_an_error_in_a_file_names_the_file_and_the_key(values, complaint):
    with pytest.raises(SettingsError, match=complaint):
        load_settings(TileSettings, values, source="tile.yaml")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TileSettings().tile_size = 3


def test_any_changed_setting_changes_the_fingerprint():
    assert TileSettings().fingerprint != TileSettings(overlap=1).fingerprint
    assert TileSettings().fingerprint == TileSettings().fingerprint


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        ({"tissue_method": "guess"}, "tissue_method: 'guess' is not known", "use otsu, hsv, hest or grandqc"),
        ({"tile_size": 0}, "tile_size: 0 is less than 1", ""),
        ({"target_mpp": 0}, "target_mpp: 0 is not above 0", ""),
        ({"max_white": 1.5}, "max_white: 1.5 is more than 1", ""),
        ({"min_tissue": float("nan")}, "min_tissue: nan is less than 0", ""),
        ({"overlap": 224}, "overlap: 224 is not less than tile_size 224", ""),
    ],
)
def test_choices_and_limits_hold_for_settings_made_in_python(values, message, hint):
    with pytest.raises(SettingsError) as caught:
        TileSettings(**values)
    assert (caught.value.message, caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        (Limits(), ""),
        (Limits(min=1), "x>=1"),
        (Limits(max=2.5), "x<=2.5"),
        (Limits(above=0), "x>0"),
        (Limits(below=1), "x<1"),
        (Limits(min=0, max=1), "0<=x<=1"),
        (Limits(min=0, below=1), "0<=x<1"),
        (Limits(above=0, max=100), "0<x<=100"),
    ],
)
def test_limits_are_shown_as_a_formula(limits, shown):
    assert str(limits) == shown


def test_a_field_has_the_group_of_the_class_that_declares_it():
    rules = {rules.name: rules for rules in field_rules(TrainSettings)}
    assert (rules["width"].owner, rules["width"].group) == (ModelSettings, "Model")
    assert (rules["epochs"].group, rules["shots"].group, rules["regime"].group) == ("Learning", "Data", "")
    assert rules["loss"].choices == ("symmetric", "image_to_text")


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (EvaluateSettings, ["level", "split", "resamples", "seed"]),
        (EvaluateDescriptionsSettings, ["column_prefix", "resamples", "seed"]),
    ],
)
def test_shared_fields_come_last_in_the_record(cls, names):
    assert list(cls().as_dict()) == names
