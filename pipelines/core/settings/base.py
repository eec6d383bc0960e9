"""Settings of a stage: frozen, validated, fingerprinted.

What changes an artifact is a setting, recorded in it and compared on resume. What only changes
how fast it is made (workers, device) is a keyword argument of the stage and not a setting.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pipelines.core.errors import SettingsError
from pipelines.core.files import fingerprint

S = TypeVar("S", bound="Settings")


@dataclass(frozen=True)
class Settings:
    """Base of the settings classes: one frozen dataclass a stage, one docstring a field."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON data."""
        return {key: str(v) if isinstance(v, Path) else v for key, v in asdict(self).items()}

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ when any setting differs."""
        return fingerprint(self.as_dict())


def require(condition: bool, message: str, *, hint: str = "") -> None:  # noqa: FBT001
    """Raise `SettingsError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise SettingsError(message, hint=hint)


def load_settings(cls: type[S], values: dict[str, Any], *, source: str) -> S:
    """Build settings from plain data; unknown keys and wrong types are errors.

    Raises
    ------
    SettingsError
        Naming ``source``, the key and what is wrong with it.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{source}: {key}: {first['msg']}") from error
