"""Named sets of values for ``five train --preset``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Preset = Literal["five", "released"]

TRAIN_PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "five": {},
    "released": {
        "model": "five-fusion",
        "feature_scaling": "none",
        "positions": "sequence",
        "padding": "released",
        "attention": "exact",
        "tile_pooling": "mean",
        "class_texts": "plain",
        "cross_residual": False,
        "text_model": "emilyalsentzer/Bio_ClinicalBERT",
        "text_dropout": 0.1,
        "text_pooling": "released",
        "prompt_tokens": 308,
        "prompt_std": 0.01,
        "logit_scale": 300.0,
        "learn_scale": False,
        "loss": "image_to_text",
        "extra_texts": 1000,
        "tile_ratio": 1.0,
        "max_tiles": 16384,
        "max_tiles_eval": 16384,
        "epochs": 100,
        "patience": 100,
        "batch_size": 1,
        "accumulation": 16,
        "lr": 3e-5,
        "lr_text": 3e-6,
        "label_smoothing": 0.0,
        "weight_decay": 0.001,
        "clip_norm": 0.0,
    },
}
"""Values by preset: ``five`` changes nothing, ``released`` computes what the published code does."""
