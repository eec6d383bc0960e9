"""Read and write class texts: a YAML file, written by users, that describes each class in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import SettingsError
from pipelines.core.files import replacing
from pipelines.core.labels import refuse_near_equal
from pipelines.core.user_tables import is_missing
from pipelines.core.yaml_file import read_yaml

logger = logging.getLogger(__name__)

_LAYOUT = "'classes:' and below it 'NAME: text' or 'NAME: [text, text]'"


def load_classes(path: Path) -> dict[str, list[str]]:
    """Return class name -> one or more texts, in the order of the file; names such as ``no`` and ``010`` are text.

    Raises
    ------
    SettingsError
        The file is missing, is not a file of class texts, has fewer than two classes, or has two classes
        whose names differ only in case, white space or Unicode normalization.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such file", hint=f"pass a YAML file of class texts; expected {_LAYOUT}")
    data = read_yaml(path, expected=_LAYOUT, only_text=True)
    if set(data) != {"classes"} or not isinstance(data["classes"], dict):
        raise SettingsError(f"{path}: not a file of class texts", hint=f"expected {_LAYOUT}")
    names = [str(name) for name in data["classes"]]
    refuse_near_equal(names, "classes", path, error=SettingsError)
    classes = {
        name.strip(): _texts(value, name, path) for name, value in zip(names, data["classes"].values(), strict=True)
    }
    if "" in classes:
        raise SettingsError(f"{path}: a class has no name", hint=f"expected {_LAYOUT}")
    for name in filter(is_missing, classes):
        logger.warning("%s: no slide can be of class %r, because this word means a missing label in tables", path, name)
    if len(classes) < 2:
        raise SettingsError(f"{path}: {len(classes)} class", hint="give at least two classes")
    return classes


def write_classes(classes: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write class texts to ``path``; `load_classes` reads them back unchanged."""
    with replacing(path) as part:
        plain = {"classes": {name: list(texts) for name, texts in classes.items()}}
        part.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def _texts(value: Any, name: str, path: Path) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise SettingsError(f"{path}: class '{name}' has no text", hint=f"expected {_LAYOUT}")
    return [text.strip() for text in texts]
