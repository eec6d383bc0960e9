from dataclasses import fields

import pytest

from pipelines.core.errors import SettingsError
from pipelines.core.settings import TrainSettings
from pipelines.core.settings.train import PRESETS, ModelSettings


def test_the_released_preset_is_a_valid_set_of_settings():
    released = TrainSettings(**PRESETS["released"])
    assert released.batch_size * released.accumulation == 16
    assert (released.logit_scale, released.lr, released.lr_text) == (300.0, 3e-5, 3e-6)


def test_the_model_part_is_exactly_the_fields_of_the_model():
    assert TrainSettings(width=64).model.keys() == {field.name for field in fields(ModelSettings)}
    assert ModelSettings(**TrainSettings(width=64).model).width == 64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 100}, "width: 100 is not a multiple of 64"),
        ({"positions": "3d"}, "positions: '3d' is not known"),
        ({"epochs": 0}, "epochs: 0 is less than 1"),
        ({"tile_ratio": 0.0}, "tile_ratio: 0.0 is not in"),
        ({"shots": 2}, "only fine-tuning has classes"),
        ({"lora_dropout": 1.0}, "lora_dropout: 1.0 is not in"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(SettingsError, match=message):
        TrainSettings(**values)
