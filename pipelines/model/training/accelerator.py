"""Set up the device, precision and processes of a run with accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.core.devices import pick_device
from pipelines.core.settings import require
from pipelines.core.settings.train import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Precision -> its name in accelerate."""


def make_accelerator(settings: TrainSettings, device: str = "auto") -> Accelerator:
    """Return the accelerator of this process; under a launcher it joins the other processes.

    Raises
    ------
    SettingsError
        The device or the precision is not available, or the batches per update cannot be divided evenly
        among the processes.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    chosen = pick_device(device)
    if chosen.startswith("cuda:"):
        torch.cuda.set_device(chosen)
    AcceleratorState._reset_state()  # allows another precision for a second run in the same Python process
    accelerator = Accelerator(cpu=chosen == "cpu", mixed_precision=NAMES[settings.precision])
    require(
        settings.precision != "fp16" or accelerator.device.type == "cuda",
        f"precision: fp16 is not supported on {accelerator.device.type}",
        hint="use fp32 or bf16, or a CUDA device",
    )
    processes = accelerator.num_processes
    require(
        settings.accumulation % processes == 0,
        f"accumulation: {settings.accumulation} batches per update cannot be divided among {processes} processes",
        hint=f"use a multiple of {processes} for --accumulation, for example with a smaller --batch-size",
    )
    return accelerator
