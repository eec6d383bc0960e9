"""Read and write class texts: a YAML file, written by users, that describes each class in words."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import SettingsError
from pipelines.core.files import replacing
from pipelines.core.labels import refuse_near_equal
from pipelines.core.user_tables import is_missing
from pipelines.core.yaml_file import read_yaml

logger = logging.getLogger(__name__)

PLACEHOLDERS = ("{}", "{name}")
"""What a template has in place of the text."""
_LAYOUT = "'classes:' and below it 'NAME: text' or 'NAME: [text, text]'"
_KEYS = {"classes", "templates", "other"}


@dataclass(frozen=True)
class ClassTexts:
    """The content of a file of class texts. Every text is already filled into every template."""

    classes: dict[str, list[str]]
    """Class name -> one or more texts, in the order of the file."""
    other: list[str]
    """Texts of what is none of the classes, such as normal tissue; empty if the file has none."""


def load_classes(path: Path) -> dict[str, list[str]]:
    """Return class name -> texts, for models that do not use the texts of other tissue.

    Raises
    ------
    SettingsError
        As `load_class_texts`; also if the file has texts of other tissue.
    """
    texts = load_class_texts(path)
    if texts.other:
        raise SettingsError(
            f"{path}: other: these texts are used only by `five predict` without --run",
            hint="remove the key, or describe other tissue as a class",
        )
    return texts.classes


def load_class_texts(path: Path) -> ClassTexts:
    """Return the texts of each class, and of other tissue; names such as ``no`` and ``010`` are text.

    Raises
    ------
    SettingsError
        The file is missing, is not a file of class texts, has fewer than two classes, has two classes whose names
        differ only in case, white space or Unicode normalization, or texts that cannot tell two classes apart.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such file", hint=f"pass a YAML file of class texts; expected {_LAYOUT}")
    data = read_yaml(path, expected=_LAYOUT, only_text=True)
    if not isinstance(data.get("classes"), dict) or not set(data) <= _KEYS:
        raise SettingsError(f"{path}: not a file of class texts", hint=f"expected {_LAYOUT}")
    names = [str(name) for name in data["classes"]]
    refuse_near_equal(names, "classes", path, error=SettingsError)
    texts = {
        name.strip(): _texts(value, f"class '{name}'", path)
        for name, value in zip(names, data["classes"].values(), strict=True)
    }
    if "" in texts:
        raise SettingsError(f"{path}: a class has no name", hint=f"expected {_LAYOUT}")
    for name in filter(is_missing, texts):
        logger.warning("%s: no slide can be of class %r, because this word means a missing label in tables", path, name)
    if len(texts) < 2:
        raise SettingsError(f"{path}: {len(texts)} class", hint="give at least two classes")
    other = _texts(data["other"], "the key 'other'", path) if "other" in data else []
    _refuse_equal(texts, other, path)
    templates = _templates(data, path)
    return ClassTexts({name: _filled(templates, its) for name, its in texts.items()}, _filled(templates, other))


def write_classes(classes: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write class texts to ``path``; `load_classes` reads them back unchanged."""
    with replacing(path) as part:
        plain = {"classes": {name: list(texts) for name, texts in classes.items()}}
        part.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def _texts(value: Any, whose: str, path: Path) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise SettingsError(f"{path}: {whose} has no text", hint=f"expected {_LAYOUT}")
    return [text.strip() for text in texts]


def _templates(data: Mapping[str, Any], path: Path) -> list[str]:
    if "templates" not in data:
        return ["{}"]
    templates = _texts(data["templates"], "the key 'templates'", path)
    for template in templates:
        if not any(placeholder in template for placeholder in PLACEHOLDERS):
            raise SettingsError(
                f"{path}: templates: {template!r} has no place for the text of a class",
                hint="write {} where the text goes, for example 'an H&E image of {}'",
            )
    return templates


def _filled(templates: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return every text in every template, each result once."""
    return list(dict.fromkeys(_fill(template, text) for text in texts for template in templates))


def _fill(template: str, text: str) -> str:
    for placeholder in PLACEHOLDERS:
        template = template.replace(placeholder, "\0")
    return template.replace("\0", text)


def _refuse_equal(classes: Mapping[str, Sequence[str]], other: Sequence[str], path: Path) -> None:
    """Raise a `SettingsError` if two classes have the same texts, or a class has a text of other tissue."""
    plain = {name: {_plain(text) for text in texts} for name, texts in classes.items()}
    for first, second in combinations(plain, 2):
        if plain[first] == plain[second]:
            raise SettingsError(
                f"{path}: the classes '{first}' and '{second}' have the same texts",
                hint="describe what distinguishes them; otherwise every slide gets the same probability for both",
            )
    rest = {_plain(text) for text in other}
    for name, texts in plain.items():
        if texts & rest:
            raise SettingsError(
                f"{path}: a text of class '{name}' is also in 'other'", hint="keep it in one of the two places"
            )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .")
