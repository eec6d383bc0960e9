"""Options made from a settings class: one per field, with the help text of the field's docstring."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING
from functools import cache, cached_property, update_wrapper
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

import typer

from pipelines.core.settings import FieldRules, Settings, field_rules

LONGEST_CHOICES = 36
"""Characters of the choices that fit beside an option; longer ones are listed in the help text only."""


class with_settings:
    """Replace the parameter that is annotated with a settings class by one option per field.

    The command is called with the settings built from these options. A parameter that has the name of a field takes
    the place of that option; its value is not put into the settings. Options are built when they are first asked for,
    because a call of ``five`` needs those of one command only.
    """

    def __init__(self, command: Callable[..., None]) -> None:
        self._command = command
        update_wrapper(self, command)

    def __call__(self, **values: Any) -> None:
        """Call the command with the settings in place of the values of their options."""
        name, cls, fields = self._settings
        given = {rules.name: values.pop(rules.name) for rules in fields}
        self._command(**values, **{name: cls(**given)})

    @cached_property
    def __signature__(self) -> inspect.Signature:
        name, cls, fields = self._settings
        signature = inspect.signature(self._command)
        parameters = [parameter.replace(annotation=self._hints[key]) for key, parameter in signature.parameters.items()]
        position = list(signature.parameters).index(name)
        parameters[position : position + 1] = [_parameter(cls, rules) for rules in fields]
        return signature.replace(parameters=parameters)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._command, include_extras=True)

    @cached_property
    def _settings(self) -> tuple[str, type[Settings], list[FieldRules]]:
        """The name and class of the settings, and the fields that become options."""
        name, cls = next((name, hint) for name, hint in self._hints.items() if _is_settings(hint))
        fields = [rules for rules in field_rules(cls) if rules.name not in self._hints]
        return name, cls, sorted(fields, key=lambda rules: rules.has_own_group)  # these are listed last


def option_of(cls: type[Settings], field: str) -> Any:
    """Return a Typer option with the help text, limits and panel of a settings field."""
    rules = next(rules for rules in field_rules(cls) if rules.name == field)
    long_choices = len("|".join(rules.choices)) > LONGEST_CHOICES
    return typer.Option(
        help=field_help(cls, field),
        min=rules.limits.min,
        max=rules.limits.max,
        rich_help_panel=rules.group or None,
        metavar="<name>" if long_choices else None,
    )


def field_help(cls: type[Settings], field: str) -> str:
    """Return the first paragraph of a field's docstring, with flags for the names of other fields."""
    names = {rules.name: rules for rules in field_rules(cls)}
    text = _docstrings(names[field].owner).get(field, "").split("\n\n")[0]

    def shown(quoted: re.Match[str]) -> str:
        name, _, value = quoted[1].partition("=")
        return f"--{name.replace('_', '-')} {value}".rstrip() if name in names else quoted[1]

    return escape(re.sub(r"``(.+?)``", shown, " ".join(text.split())))


def escape(text: str) -> str:
    """Return ``text`` with square brackets that rich does not take for markup."""
    return text.replace("[", "\\[")


def _is_settings(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _parameter(cls: type[Settings], rules: FieldRules) -> inspect.Parameter:
    default = inspect.Parameter.empty if rules.default is MISSING else rules.default
    annotation: Any = Annotated[rules.type, option_of(cls, rules.name)]
    return inspect.Parameter(rules.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@cache
def _docstrings(cls: type[Settings]) -> dict[str, str]:
    """Return field name -> docstring for the fields that ``cls`` itself declares."""
    body = _class_bodies(cls.__module__)[cls.__name__]
    return {
        field.target.id: inspect.cleandoc(docstring.value.value)
        for field, docstring in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(docstring, ast.Expr)
        and isinstance(docstring.value, ast.Constant)
        and isinstance(docstring.value.value, str)
    }


@cache
def _class_bodies(module: str) -> dict[str, list[ast.stmt]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node.body for node in tree.body if isinstance(node, ast.ClassDef)}
