"""Read YAML files that users write, and report the line of a mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import SettingsError


def read_yaml(path: Path, *, expected: str) -> dict[str, Any]:
    """Return the mapping in ``path``; a file without content gives an empty mapping.

    Parameters
    ----------
    expected
        Short description of the expected content, for the error message.

    Raises
    ------
    SettingsError
        The file is not UTF-8, not YAML, or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text", hint="save the file as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise SettingsError(f"{path}: not a YAML file{line}: {problem}", hint=f"expected {expected}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected {expected}")
    return data
