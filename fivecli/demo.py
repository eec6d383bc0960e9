import typer

app = typer.Typer(help="Placeholder.")
