"""Rules of a field of settings or resources: its type, choices, limits and group, read from its annotation."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pipelines.core.errors import SettingsError


@dataclass(frozen=True)
class Limits:
    """Range of a number. ``min`` and ``max`` are allowed; ``above`` and ``below`` are not."""

    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None

    @property
    def is_exclusive(self) -> bool:
        """Whether an end of the range is not allowed."""
        return self.above is not None or self.below is not None

    def __str__(self) -> str:
        """Return the range as a formula, such as ``0<=x<1`` or ``x>0``."""
        if self == Limits():
            return ""
        if self.max is None and self.below is None:
            return f"x>={self.min:g}" if self.above is None else f"x>{self.above:g}"
        low = f"{self.min:g}<=" if self.min is not None else f"{self.above:g}<" if self.above is not None else ""
        high = f"<={self.max:g}" if self.below is None else f"<{self.below:g}"
        return f"{low}x{high}"

    def complaint(self, value: float) -> str:
        """Return what is wrong with ``value``, or an empty string. NaN is outside every range."""
        if self.min is not None and not value >= self.min:
            return f"is less than {self.min:g}"
        if self.max is not None and not value <= self.max:
            return f"is more than {self.max:g}"
        if self.above is not None and not value > self.above:
            return f"is not above {self.above:g}"
        if self.below is not None and not value < self.below:
            return f"is not below {self.below:g}"
        return ""


Fraction = Annotated[float, Limits(min=0, max=1)]
ProperFraction = Annotated[float, Limits(min=0, below=1)]


@dataclass(frozen=True)
class Panel:
    """Title under which the commands list a field, where it differs from the title of its class."""

    title: str


@dataclass(frozen=True)
class FieldRules:
    """What is known about a settings field besides its value."""

    name: str
    type: Any
    """The annotation without `Limits` and `Panel`."""
    default: Any
    """`dataclasses.MISSING` if the field has none."""
    owner: type
    """The class that declares the field."""
    choices: tuple[str, ...]
    """Allowed values; empty if any value of the type is allowed."""
    limits: Limits
    group: str
    """Title under which the commands list the field; empty for the general options."""

    @property
    def has_own_group(self) -> bool:
        """Whether the field is listed apart from the other fields of its class."""
        return self.group != _group_of(self.owner)

    def check(self, value: Any) -> None:
        """Raise `SettingsError` if ``value`` is not one of the choices or is outside the limits."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            *first, last = self.choices
            raise SettingsError(f"{self.name}: {value!r} is not known", hint=f"use {', '.join(first)} or {last}")
        if complaint := self.limits.complaint(value) if self.limits != Limits() else "":
            raise SettingsError(f"{self.name}: {value} {complaint}")


def field_rules(cls: type) -> tuple[FieldRules, ...]:
    """Return the rules of every field of a settings or resources class, in the order of the fields."""
    return _field_rules(cls)  # mypy takes no class of dataclasses for hashable, which `cache` needs


def check_fields(record: Any) -> None:
    """Raise `SettingsError` if a field of a dataclass instance has a value that its annotation does not allow."""
    for rules in field_rules(type(record)):
        rules.check(getattr(record, rules.name))


@cache
def _field_rules(cls: type[Any]) -> tuple[FieldRules, ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(_rules(cls, field.name, hints[field.name], field.default) for field in fields(cls))


def _rules(cls: type[Any], name: str, hint: Any, default: Any) -> FieldRules:
    plain, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    owner = next(base for base in cls.__mro__ if name in inspect.get_annotations(base))
    limits = next((note for note in notes if isinstance(note, Limits)), Limits())
    group = next((note.title for note in notes if isinstance(note, Panel)), _group_of(owner))
    return FieldRules(name, plain, default, owner, choices_of(plain), limits, group)


def _group_of(owner: type) -> str:
    return getattr(owner, "group", "")


def choices_of(hint: Any) -> tuple[str, ...]:
    """Return the values of a `Literal` type, also if it is optional; an empty tuple for other types."""
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return tuple(choice for part in get_args(hint) for choice in choices_of(part))
    return ()
