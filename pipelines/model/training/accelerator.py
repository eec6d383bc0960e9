"""Device, precision and processes of a run, by accelerate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.core.devices import pick_device
from pipelines.core.settings import require
from pipelines.core.settings.train import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Precisions as accelerate calls them."""


def make_accelerator(settings: TrainSettings, device: str = "auto") -> Accelerator:
    """Return the accelerator of this process; it joins the others when started by a launcher.

    Raises
    ------
    SettingsError
        The device or the precision is not available, or the processes cannot share the
        batches of an update evenly.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    chosen = pick_device(device)
    if chosen.startswith("cuda:"):
        torch.cuda.set_device(chosen)
    AcceleratorState._reset_state()  # else a second run in one Python process could have no other precision
    accelerator = Accelerator(cpu=chosen == "cpu", mixed_precision=NAMES[settings.precision])
    require(
        settings.precision != "fp16" or accelerator.device.type == "cuda",
        f"precision: fp16 cannot be computed on {accelerator.device.type}",
        hint="use fp32 or bf16, or a CUDA device",
    )
    processes = accelerator.num_processes
    require(
        settings.accumulation % processes == 0,
        f"accumulation: {settings.accumulation} batches an update cannot be shared by {processes} processes",
        hint=f"use --accumulation {processes} or a multiple of it, for example with a smaller --batch-size",
    )
    return accelerator
