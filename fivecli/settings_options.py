"""Options made from settings and resources classes: one per field, with the help text of the field's docstring."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING
from functools import cache, cached_property, update_wrapper
from itertools import pairwise
from typing import Annotated, Any, get_args, get_type_hints

import typer

from pipelines.core.resources import BaseResources
from pipelines.core.settings import FieldRules, Limits, Settings, field_rules

OPTION_CLASSES = (Settings, BaseResources)
"""Base classes whose fields become options."""
MAX_CHOICES_LENGTH = 36
"""Characters of the choices that fit beside an option; longer ones are listed in the help text only."""


class with_settings:
    """Replace each parameter that is annotated with a settings or resources class by one option per field.

    The command is called with the objects built from these options. A parameter that has the name of a field takes
    the place of that option; its value is not put into the object. Options are built when they are first asked for,
    because a call of ``five`` needs those of one command only.
    """

    def __init__(self, command: Callable[..., None]) -> None:
        self._command = command
        update_wrapper(self, command)

    def __call__(self, **values: Any) -> None:
        """Call the command with settings and resources in place of the values of their options."""
        built = {
            name: cls(**{rules.name: values.pop(rules.name) for rules in rules_of_fields})
            for name, (cls, rules_of_fields) in self._expanded.items()
        }
        self._command(**values, **built)

    @cached_property
    def __signature__(self) -> inspect.Signature:
        signature = inspect.signature(self._command)
        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            if name in self._expanded:
                cls, fields = self._expanded[name]
                parameters += [_parameter(cls, rules) for rules in fields]
            else:
                parameters.append(parameter.replace(annotation=self._hints[name]))
        return signature.replace(parameters=parameters)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._command, include_extras=True)

    @cached_property
    def _expanded(self) -> dict[str, tuple[type[Any], list[FieldRules]]]:
        """Parameter -> its class, and the fields of it that become options."""
        expanded = {}
        for name, cls in self._hints.items():
            if isinstance(cls, type) and issubclass(cls, OPTION_CLASSES):
                fields = [rules for rules in field_rules(cls) if rules.name not in self._hints]
                expanded[name] = cls, sorted(fields, key=lambda rules: rules.has_own_group)  # these are listed last
        return expanded


def option_of(cls: type[Any], field: str) -> Any:
    """Return a Typer option with the help text, limits and panel of a settings field."""
    rules = next(rules for rules in field_rules(cls) if rules.name == field)
    text, panel = field_help(cls, field), rules.group or None
    if rules.limits.is_exclusive:  # typer knows only ranges that include their ends
        check, metavar = _check_of(rules.limits), f"<{_number_type(rules.type)}> [{rules.limits}]"
        return typer.Option(help=text, callback=check, metavar=metavar, rich_help_panel=panel)
    long_choices = len("|".join(rules.choices)) > MAX_CHOICES_LENGTH
    return typer.Option(
        help=text,
        min=rules.limits.min,
        max=rules.limits.max,
        rich_help_panel=panel,
        metavar="<name>" if long_choices else None,
    )


def _check_of(limits: Limits) -> Callable[[Any], Any]:
    """Return an option callback that refuses values outside the limits."""

    def check(value: Any) -> Any:
        if value is not None and (complaint := limits.complaint(value)):
            raise typer.BadParameter(f"{value:g} {complaint}.")
        return value

    return check


def _number_type(annotation: Any) -> str:
    return "int" if int in (annotation, *get_args(annotation)) else "float"


def field_help(cls: type[Any], field: str) -> str:
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


def _parameter(cls: type[Any], rules: FieldRules) -> inspect.Parameter:
    default = inspect.Parameter.empty if rules.default is MISSING else rules.default
    annotation: Any = Annotated[rules.type, option_of(cls, rules.name)]
    return inspect.Parameter(rules.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


@cache
def _docstrings(cls: type[Any]) -> dict[str, str]:
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
