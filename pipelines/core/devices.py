"""Choose the torch devices to run on."""

from __future__ import annotations

from pipelines.core.errors import SettingsError


def pick_device(name: str = "auto") -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    SettingsError
        torch does not know the device, or it is not available.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(f"--device {name}: not available here", hint="use --device auto or --device cpu") from error
    return name


def pick_devices(names: str = "auto") -> list[str]:
    """Return the devices in a list such as ``cuda:0,1`` or ``cuda:0,cuda:1``, or of one `pick_device` name.

    ``cpu:0,1`` gives the CPU twice, for two processes.

    Raises
    ------
    SettingsError
        torch does not know a device, or it is not available.
    """
    kind = names.partition(":")[0]
    parts = [part.strip() for part in names.split(",")]
    devices = [pick_device(f"{kind}:{part}" if part.isdecimal() else part) for part in parts]
    return ["cpu" if device.startswith("cpu") else device for device in devices]
