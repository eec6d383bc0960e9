"""Write metrics as TensorBoard events: one scalar per metric and epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.core.errors import SettingsError


class EventWriter:
    """Writes the metrics of epochs; they are on disk when `write` returns.

    A resumed run writes to the same folder, and TensorBoard joins the files.

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

    def write(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an epoch; a metric ``<split>_<name>`` becomes the tag ``<split>/<name>``."""
        for name, value in metrics.items():
            self._writer.add_scalar(name.replace("_", "/", 1), value, epoch)
        self._writer.flush()
