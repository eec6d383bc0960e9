"""Look up an image encoder by name: a preset, or an encoder from another source."""

from __future__ import annotations

import difflib

from pipelines.core.errors import EncoderError
from pipelines.encoders.other_encoders import other_encoder
from pipelines.encoders.preset import Preset
from pipelines.encoders.presets import ENCODER_PRESETS


def find_preset(name: str) -> Preset:
    """Return the preset of the encoder ``name``.

    ``name`` is a name in ``presets.yaml``, ``timm:NAME``, ``hf:REPOSITORY`` or ``hf:FOLDER`` (a vision or image-text
    model of transformers), ``open_clip:NAME``, ``torchscript:FILE``, or the path of a Python file that defines
    ``TileEncoder``.

    Raises
    ------
    EncoderError
        There is no such encoder; the hint lists similar names.
    """
    if name in ENCODER_PRESETS:
        return ENCODER_PRESETS[name]
    preset = other_encoder(name)
    if preset is not None:
        return preset
    close = difflib.get_close_matches(name.lower(), ENCODER_PRESETS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}? Otherwise" if close else "see `five embed --list-encoders`;"
    raise EncoderError(
        f"{name}: no such encoder",
        hint=f"{hint} timm:NAME, hf:REPOSITORY, open_clip:NAME, torchscript:FILE or the path of your own file.py",
    )
