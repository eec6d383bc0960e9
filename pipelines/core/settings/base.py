"""Base class of the settings of a stage: frozen, validated and fingerprinted.

A value that changes an artifact is a setting: it is recorded in the artifact and compared when a run resumes.
A value that only changes the speed (workers, device) belongs to the resources of the stage instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pipelines.core.errors import SettingsError
from pipelines.core.files import fingerprint
from pipelines.core.settings.fields import check_fields

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """Base of the settings classes: one frozen dataclass per stage.

    Each field has a docstring. Its first paragraph is the help text of the option; ``name`` of another field is shown
    as its flag, and ``name=value`` as the flag with its value. Later paragraphs are for readers of the code.
    Choices are `Literal` types and ranges are `Limits`; both are checked here.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}
    group: ClassVar[str] = ""
    """Title under which the commands list the fields of the class; empty for the general options."""

    def __post_init__(self) -> None:
        check_fields(self)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ if any setting differs."""
        return fingerprint(self.as_dict())


def require(condition: bool, message: str, *, hint: str = "") -> None:  # noqa: FBT001
    """Raise `SettingsError` with ``message`` unless ``condition`` is true."""
    if not condition:
        raise SettingsError(message, hint=hint)


def load_settings(cls: type[S], values: dict[str, Any], *, source: str) -> S:
    """Return settings built from plain data, such as the content of a YAML file.

    Raises
    ------
    SettingsError
        A key is unknown or a value has the wrong type; the message names ``source`` and the key.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{source}: {key}: {first['msg']}") from error
