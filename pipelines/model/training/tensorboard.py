"""TensorBoard events of a training: one scalar a figure and epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.core.errors import SettingsError


class EventWriter:
    """Writes the figures of epochs; those of an epoch are on disk when `write` returns.

    A run that goes on writes to the same folder; TensorBoard joins the files.

    Raises
    ------
    SettingsError
        TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "--tensorboard: TensorBoard is not installed", hint="pip install 'five-wsi[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def write(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Write the figures of an epoch, named ``<split>_<figure>``, as ``<split>/<figure>``."""
        for name, value in figures.items():
            self._writer.add_scalar(name.replace("_", "/", 1), value, epoch)
        self._writer.flush()
