"""Choose where tensors live."""

from __future__ import annotations

from pipelines.core.errors import SettingsError


def pick_device(name: str = "auto") -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.

    Raises
    ------
    SettingsError
        The device is not known to torch, or not present.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SettingsError(f"--device {name}: not available here", hint="use --device auto or cpu") from error
    return name


def pick_devices(names: str = "auto") -> list[str]:
    """Return the devices of ``cuda:0,1`` or ``cuda:0,cuda:1``, and the one of what `pick_device` knows.

    ``cpu:0,1`` is the processor twice, for two processes on it.

    Raises
    ------
    SettingsError
        A device is not known to torch, or not present.
    """
    kind = names.partition(":")[0]
    parts = [part.strip() for part in names.split(",")]
    found = [pick_device(f"{kind}:{part}" if part.isdecimal() else part) for part in parts]
    return ["cpu" if device.startswith("cpu") else device for device in found]
