"""Text towers at toy size and the files that hold them."""

from dataclasses import replace

import numpy as np
import torch
from safetensors.torch import save_file

from pipelines.encoders.presets import ENCODER_PRESETS

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LOGIT_SCALE = {"logit_scale": torch.tensor(np.log(25.0))}


def small(name, **text):
    """Return the preset ``name`` with other fields of its text tower, for features of any width."""
    preset = ENCODER_PRESETS[name]
    return replace(preset, dim=0, text=replace(preset.text, vocabulary=0, **text))


def saved(folder, state):
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path
