"""Read YAML files that users write, and report the line of a mistake."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipelines.core.errors import SettingsError
from pipelines.core.json_text import is_unicode

MAX_BYTES = 5_000_000
"""Maximum size of a file; the parser is slow."""
MAX_MERGED_KEYS = 1_000
"""Maximum number of keys of a mapping that includes others with ``<<``; nested ones would fill the memory."""
MALFORMED = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
"""What the parser raises for values such as ``2020-13-45``, ``!!int x`` and numbers of 5,000 digits."""


class _Loader(yaml.SafeLoader):
    """Builds only plain data; refuses what would lose data or fill the memory.

    Refused are keys that appear twice, text that cannot be written as UTF-8, and mappings that grow by merging.
    """

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

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and not is_unicode(value):
            raise yaml.constructor.ConstructorError(
                None, None, "half a surrogate pair; write the character itself", node.start_mark
            )
        return value

    def flatten_mapping(self, node: Any) -> None:
        merges = any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value)
        super().flatten_mapping(node)
        if merges and len(node.value) > MAX_MERGED_KEYS:
            raise yaml.constructor.ConstructorError(
                None, None, f"more than {MAX_MERGED_KEYS:,} keys after merging", node.start_mark
            )


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
        The file cannot be read, is too large, is not UTF-8, not YAML, nested too deeply, has a key twice, or is not a
        mapping.
    """
    hint = f"expected {expected}"
    text = _read_text(path)
    try:
        data = (_TextLoader if only_text else _Loader)(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", error)
        raise SettingsError(f"{path}: not a YAML file{line}: {problem}", hint=hint) from error
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply", hint=hint) from None
    except MALFORMED as error:
        raise SettingsError(
            f"{path}: contains a value that YAML does not allow ({type(error).__name__})",
            hint="put texts that look like a date or a number between quotes",
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected {expected}")
    return data


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise SettingsError(f"{path}: larger than {MAX_BYTES:,} bytes", hint="give a YAML file written by hand")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text", hint="save the file as UTF-8") from error
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror})", hint="check the path and the permissions of the file"
        ) from error
