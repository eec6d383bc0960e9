"""``five questions``: the question sets asked about reports."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fivecli.command import Command, Group
from fivecli.options import Json
from fivecli.screen import show_table
from fivecli.settings_options import field_help
from pipelines.core.settings import DescribeReportsSettings

app = typer.Typer(cls=Group, no_args_is_help=True)

Source = Annotated[str, typer.Argument(help=field_help(DescribeReportsSettings, "questions"))]


@app.callback()
def root() -> None:
    """List, check and show the question sets asked about reports."""


@app.command("list", cls=Command)
def list_sets(*, as_json: Json = False) -> None:
    """List the question sets that are installed with FiVE.

    Example: five questions list
    """
    from pipelines.question_sets import shipped_titles

    titles = shipped_titles()
    if as_json:
        typer.echo(json.dumps(titles))
        return
    show_table("Question sets", ("name", "title"), list(titles.items()))


@app.command(cls=Command)
def validate(source: Source, *, as_json: Json = False) -> None:
    """Check a question set: report errors, and notes about probable mistakes.

    Example: five questions validate my-questions.yaml
    """
    from pipelines.question_sets import check_questions

    checked = check_questions(source)
    if as_json:
        typer.echo(json.dumps({"name": checked.questions.name, "ids": checked.questions.ids, "notes": checked.notes}))
        return
    for note in checked.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"{source}: valid, {len(checked.questions.questions)} questions: {', '.join(checked.questions.ids)}")


@app.command(cls=Command)
def show(source: Source, *, as_json: Json = False) -> None:
    """Show the instructions for the language model and the texts for the text encoder.

    Example: five questions show lung
    """
    from pipelines.core.question_files import load_questions
    from pipelines.question_sets import model_instructions

    questions = load_questions(source)
    if as_json:
        typer.echo(json.dumps(questions.model_dump(mode="json")))
        return
    typer.echo(f"{questions.title}\n{questions.about}".rstrip())
    typer.echo(f"\nInstructions for the language model, before the report\n\n{model_instructions(questions)}\n")
    rows = []
    for question in questions.questions:
        phrases = [value.phrase for value in question.values.values()] or ["words of the report"]
        rows.append((question.id, question.kind, question.prompt, "; ".join(phrases)))
    show_table("Seen by the text encoder", ("question", "kind", "prompt", "phrases of the answers"), rows)
