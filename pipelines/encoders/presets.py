"""The image encoders known by name, read from ``presets.yaml``.

This module must not import torch, so that ``five embed --list-encoders`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.yaml_file import read_yaml
from pipelines.encoders.preset import Preset, TextPreset


def _read_presets() -> dict[str, Preset]:
    rows = read_yaml(Path(__file__).with_suffix(".yaml"), expected="encoders by name")
    return {name: _preset(name, row) for name, row in rows.items()}


def _preset(name: str, row: Mapping[str, Any]) -> Preset:
    fields = {key: _frozen(value) for key, value in row.items()}
    if "text" in fields:
        fields["text"] = TextPreset(**fields["text"])
    return Preset(name, **fields)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


ENCODER_PRESETS: Mapping[str, Preset] = _read_presets()
