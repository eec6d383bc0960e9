"""Read and write question sets as YAML files.

The shipped sets are in ``question_sets/`` and are known by their file name, for example ``lung``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pipelines.core.errors import SettingsError
from pipelines.core.files import replacing
from pipelines.core.questions import AllowedAnswer, Example, Question, QuestionSet
from pipelines.core.vocabulary import Language, Rules
from pipelines.core.yaml_file import read_yaml

MAX_ERRORS_SHOWN = 5
"""Maximum number of errors of one file in a message."""


def shipped_sets() -> dict[str, Path]:
    """Return name -> file of the question sets that are installed with the program."""
    folder = Path(str(files("pipelines.core"))) / "question_sets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_questions(source: str | Path) -> QuestionSet:
    """Load a shipped question set by its name, or a question set from a YAML file.

    With ``extends: lung`` a file adds its questions to those of another set, in its language; a question
    with the id of one of that set replaces it. With ``language: german`` a set takes the words of a shipped
    language, and with ``language: {extends: german, ...}`` these with other lists.

    Raises
    ------
    SettingsError
        The set does not exist or is not valid; the message names the file and the key.
    """
    return _load(_find(source), ())


def _load(path: Path, extending: tuple[Path, ...]) -> QuestionSet:
    """Load the set at ``path``, which the sets ``extending`` are built on."""
    data = read_yaml(path, expected="'name:', 'title:' and 'questions:'", only_text=True)
    base = data.pop("extends", "")
    inherited = _load_base(base, (*extending, path.resolve())) if base else None
    if inherited:
        data["questions"] = _extended(inherited, data.get("questions", []), path)
    data["language"] = _language(data.get("language", {}), inherited, path)
    try:
        return QuestionSet.model_validate(data)
    except ValidationError as error:
        problems = [_location(details["loc"], data) + _problem(details) for details in error.errors()]
        n_hidden = len(problems) - MAX_ERRORS_SHOWN
        more = f"; and {n_hidden} more" if n_hidden > 0 else ""
        raise SettingsError(
            f"{path}: " + "; ".join(problems[:MAX_ERRORS_SHOWN]) + more,
            hint=_HINT,
        ) from None


def _extended(inherited: QuestionSet, questions: Any, path: Path) -> list[Any]:
    """Return the questions of a base, those with an id of ``questions`` replaced, and the other ``questions``."""
    if not isinstance(questions, list):
        raise SettingsError(f"{path}: questions: {_MESSAGES['tuple_type']}", hint=_HINT)
    rest = list(questions)
    merged: list[Any] = []
    for question in inherited.model_dump(mode="json")["questions"]:
        own = next((entry for entry in rest if isinstance(entry, dict) and entry.get("id") == question["id"]), None)
        merged.append(question if own is None else own)
        rest = [entry for entry in rest if entry is not own]
    return [*merged, *rest]


def _language(given: Any, inherited: QuestionSet | None, path: Path) -> Any:
    """Return the lists of a language: those given, over those of the language or the set that they extend."""
    if isinstance(given, str):
        return shipped_language(given, path)
    if not isinstance(given, dict):
        return given  # pydantic says what is wrong
    own = dict(given)
    base = own.pop("extends", None)
    if base is not None:
        return {**shipped_language(base, path), **own}
    return {**(inherited.language.model_dump(mode="json") if inherited else {}), **own}


def shipped_language(name: Any, path: Path) -> dict[str, Any]:
    """Return the lists of words of ``english``, ``german`` or ``dutch``, which the set at ``path`` asks for."""
    folder = Path(str(files("pipelines.core"))) / "languages"
    known = {"english", *(file.stem for file in folder.glob("*.yaml"))}
    if not isinstance(name, str) or name not in known:
        raise SettingsError(
            f"{path}: language: {name!r} is not known", hint=f"give {', '.join(sorted(known))}, or lists of words"
        )
    return {} if name == "english" else read_yaml(folder / f"{name}.yaml", expected="lists of words", only_text=True)


def _load_base(base: Any, extending: tuple[Path, ...]) -> QuestionSet:
    """Load the set that the last of the files ``extending`` names as its base."""
    path = extending[-1]
    if not isinstance(base, str):
        raise SettingsError(f"{path}: extends: not text", hint="give the name of a shipped set or a YAML file")
    found = _find(path.parent / base if base.endswith((".yaml", ".yml")) else base)
    if found.resolve() in extending:
        raise SettingsError(f"{path}: extends: {base} extends this file", hint="remove one of the lines 'extends:'")
    return _load(found, extending)


def write_questions(questions: QuestionSet, path: Path, *, private: bool = False) -> None:
    """Write a complete set to ``path``; `load_questions` reads back an equal one. See `replacing` for ``private``."""
    with replacing(path, private=private) as part:
        text = yaml.safe_dump(
            questions.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=120
        )
        part.write_text(text, encoding="utf-8")


def _find(source: str | Path) -> Path:
    shipped = shipped_sets()
    if str(source) in shipped:
        return shipped[str(source)]
    path = Path(source)
    try:
        is_file = path.is_file()
    except (OSError, ValueError):  # the name is too long, or contains characters that no file name has
        is_file = False
    if not is_file:
        raise SettingsError(
            f"{source}: no such question set", hint=f"give a YAML file, or one of {', '.join(shipped) or 'none'}"
        )
    return path


_HINT = "`five questions show lung` shows a valid set; docs/reports.md explains every key"

_MESSAGES = {
    "missing": "this key is missing",
    "string_type": "not text",
    "string_too_short": "must not be empty",
    "tuple_type": "not a list; write [a, b] or one '- ' line each",
    "dict_type": "not a mapping of 'name: value' lines",
    "model_type": "not a mapping of 'name: value' lines",
    "string_pattern_mismatch": "use lower-case letters and digits, starting with a letter "
    "(_ between words; in the name of a set -)",
}
"""Message for each of pydantic's error types; other types keep pydantic's message."""


def _problem(details: Mapping[str, Any]) -> str:
    """Return what is wrong and, unless that is obvious, how to fix it."""
    kind = details["type"]
    if kind == "extra_forbidden":
        models = (QuestionSet, Question, AllowedAnswer, Example, Rules, Language)
        keys = {key for model in models for key in model.model_fields}
        close = get_close_matches(str(details["loc"][-1]), sorted(keys), n=1)
        return "no such key here" + (f"; did you mean {close[0]!r}?" if close else "")
    if kind == "string_pattern_mismatch" and details["loc"][-1] == "[key]":
        return f"the name of a value: {_MESSAGES[kind]}"
    return str(_MESSAGES.get(kind) or details["msg"].removeprefix("Value error, "))


def _location(path: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """Return the path to a key, such as ``questions.pleura.values: ``, with question ids instead of numbers."""
    keys = [str(key) for key in path]
    if len(path) > 1 and path[0] == "questions" and isinstance(path[1], int) and isinstance(data["questions"], list):
        question = data["questions"][path[1]]
        if isinstance(question, dict) and "id" in question:
            keys[1] = str(question["id"])
    return ".".join(keys) + ": " if keys else ""
