from dataclasses import fields

import pytest

from pipelines.core.errors import SettingsError
from pipelines.core.settings import TrainSettings
from pipelines.core.settings.model import ModelSettings
from pipelines.core.settings.train_presets import TRAIN_PRESETS


def test_the_released_preset_is_a_valid_set_of_settings():
    released = TrainSettings(**TRAIN_PRESETS["released"])
    assert released.batch_size * released.accumulation == 16
    assert (released.logit_scale, released.lr, released.lr_text) == (300.0, 3e-5, 3e-6)


def test_the_model_part_is_exactly_the_fields_of_the_model():
    assert TrainSettings(width=64).of_model.keys() == {field.name for field in fields(ModelSettings)}
    assert ModelSettings(**TrainSettings(width=64).of_model).width == 64


@pytest.mark.parametrize(
    ("values", "is_tuned", "rates"),
    [
        ({"regime": "finetune"}, True, (3e-4, 0.0)),
        ({"regime": "finetune"}, False, (3e-4, 3e-4)),
        ({"regime": "pretrain"}, True, (3e-4, 3e-4)),
        ({"regime": "finetune", "lr": 0.5, "lr_text": 0.25}, True, (0.5, 0.25)),
        (TRAIN_PRESETS["released"], False, (3e-5, 3e-6)),
    ],
)
def test_the_learning_rate_of_the_text_side_depends_on_regime_and_start(values, is_tuned, rates):
    settings = TrainSettings(**values).with_text_rate(is_tuned=is_tuned)
    assert (settings.lr, settings.lr_text) == rates


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 100}, "width: 100 is not a multiple of 64"),
        ({"positions": "3d"}, "positions: '3d' is not known"),
        ({"epochs": 0}, "epochs: 0 is less than 1"),
        ({"tile_ratio": 0.0}, "tile_ratio: 0.0 is not above 0"),
        ({"shots": 2}, "shots: pretrain has no classes"),
        ({"percent": 10.0}, "percent: pretrain has no classes"),
        ({"balance": "weights"}, "balance: pretrain has no classes"),
        ({"regime": "finetune", "shots": 2, "percent": 10.0}, "shots and percent: give only one"),
        ({"regime": "finetune", "percent": 101.0}, "percent: 101.0 is more than 100"),
        ({"precision": "fp8"}, "precision: 'fp8' is not known"),
        ({"lr": float("nan")}, "lr: nan is less than 0"),
        ({"lr": -1.0}, "lr: -1.0 is less than 0"),
        ({"label_smoothing": 1.0}, "label_smoothing: 1.0 is not below 1"),
        ({"lora_dropout": 1.0}, "lora_dropout: 1.0 is not below 1"),
    ],
)
def test_values_out_of_range_are_named(values, message):
    with pytest.raises(SettingsError, match=message):
        TrainSettings(**values)
