"""The image encoders known by name, read from ``presets.yaml``.

This module must not import torch, so that ``five embed --list-encoders`` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.yaml_file import read_yaml
from pipelines.encoders.preset import Preset


def _read_presets() -> dict[str, Preset]:
    rows = read_yaml(Path(__file__).with_suffix(".yaml"), expected="encoders by name")
    return {name: Preset(name, **{key: _frozen(value) for key, value in row.items()}) for name, row in rows.items()}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


ENCODER_PRESETS: Mapping[str, Preset] = _read_presets()
