"""``five questions``: the question sets asked about reports."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    from pipelines.question_sets import shipped_summaries

    summaries = shipped_summaries()
    if as_json:
        typer.echo(json.dumps({name: asdict(summary) for name, summary in summaries.items()}))
        return
    rows = [
        (name, summary.title, str(len(summary.ids)), str(summary.answers), str(summary.wordings))
        for name, summary in summaries.items()
    ]
    show_table("Question sets", ("name", "title", "questions", "answers", "wordings"), rows)


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
    prompts = [(question.id, question.kind, question.prompt) for question in questions.questions]
    show_table("Prompts, seen by the text encoder", ("question", "kind", "prompt"), prompts)
    wordings = [
        (question.id, answer, "; ".join(allowed.texts))
        for question in questions.questions
        for answer, allowed in question.values.items()
    ]
    wordings += [(question.id, "", "words of the report") for question in questions.questions if not question.values]
    show_table("Wordings of the answers, seen by the text encoder", ("question", "answer", "wordings"), wordings)
