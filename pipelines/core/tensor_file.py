"""Read tensor files from other sources without executing code in them, and write our own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def read_tensor_file(path: Path) -> Any:
    """Return the content of a ``.safetensors`` file or a PyTorch checkpoint, on the CPU.

    Raises
    ------
    pickle.UnpicklingError
        A checkpoint contains more than tensors and plain data, and could run code.
    Exception
        The file is damaged; torch raises many types for files that it did not write.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    with warnings.catch_warnings():  # about pickle protocols, which do not matter here
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write a ``.safetensors`` file. On a full disk this raises an OSError, which the library's writer does not."""
    from safetensors.torch import save

    path.write_bytes(save(dict(tensors), metadata=dict(metadata) if metadata else None))


def state_dict_in(loaded: Any, wrappers: Sequence[str]) -> dict[str, Tensor] | None:
    """Return name -> tensor from the content of a tensor file, or None if it is not a state dict.

    Parameters
    ----------
    loaded
        Return value of `read_tensor_file`.
    wrappers
        Keys under which training checkpoints store the state dict; the first one with a mapping is used.
    """
    from torch import Tensor

    if not isinstance(loaded, Mapping):
        return None
    state = next((loaded[key] for key in wrappers if isinstance(loaded.get(key), Mapping)), loaded)
    return dict(state) if all(isinstance(value, Tensor) for value in state.values()) else None
