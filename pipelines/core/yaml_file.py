"""Read YAML files that users write, and report the line of a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import SettingsError


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses keys that appear twice: the first of them would be lost."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.composer.ComposerError(
                        None, None, f"the key {key.value!r} appears twice", key.start_mark
                    )
                seen.add(key.value)
        return node


class _TextLoader(_Loader):
    """A loader for which everything that is not a list or mapping is text: ``no``, ``010``, ``1e3``, ``null``."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("<<$"))]}  # noqa: RUF012


def read_yaml(path: Path, *, expected: str, only_text: bool = False) -> dict[str, Any]:
    """Return the mapping in ``path``; a file without content gives an empty mapping.

    Parameters
    ----------
    expected
        Short description of the expected content, for the error message.
    only_text
        Read words such as ``no`` and ``null``, and numbers, as the text that is written there.

    Raises
    ------
    SettingsError
        The file is not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = yaml.load(text, _TextLoader if only_text else _Loader)  # both are safe loaders
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text", hint="save the file as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise SettingsError(f"{path}: not a YAML file{line}: {problem}", hint=f"expected {expected}") from error
    except (ValueError, RecursionError) as error:  # a date such as 2024-99-99, or thousands of brackets
        raise SettingsError(
            f"{path}: not a readable YAML file ({type(error).__name__})", hint=f"expected {expected}"
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected {expected}")
    return data
