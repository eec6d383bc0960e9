"""Files of tensors that other people made, read without executing anything in them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def read_tensor_file(path: Path) -> Any:
    """Return what a ``.safetensors`` file or a PyTorch checkpoint holds, on the CPU.

    Raises
    ------
    pickle.UnpicklingError
        A checkpoint holds other things than tensors and plain data, which could run code.
    Exception
        The file is damaged: torch fails in many ways on a file that it did not write.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    import torch

    with warnings.catch_warnings():  # on pickles of another protocol, which are read or refused here
        warnings.simplefilter("ignore", UserWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def state_dict_in(loaded: Any, wrappers: Sequence[str]) -> dict[str, Tensor] | None:
    """Return the tensors by name in what `read_tensor_file` returned; None where it is no state dict.

    Parameters
    ----------
    wrappers
        Keys under which checkpoints of training runs keep them; the first that holds a mapping counts.
    """
    from torch import Tensor

    if not isinstance(loaded, Mapping):
        return None
    state = next((loaded[key] for key in wrappers if isinstance(loaded.get(key), Mapping)), loaded)
    return dict(state) if all(isinstance(value, Tensor) for value in state.values()) else None
