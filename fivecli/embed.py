def command() -> None:
    """Placeholder until the stage is written."""
    raise NotImplementedError
