"""The state of a run between two epochs: weights, optimiser, best weights so far and history in one file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.core.files import replacing
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import learned_state, load_learned
from pipelines.model.training.progress import Progress

STATE = "last.safetensors"


def save_state(
    path: Path,
    run_id: str,
    model: BagModel,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    progress: Progress,
) -> None:
    """Write all that `restore_state` needs, whole, to ``path``."""
    tensors = {f"model/{name}": weight for name, weight in learned_state(model).items()}
    tensors |= {f"best/{name}": weight for name, weight in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value).cpu() for name, value in moments.items()}
    with replacing(path) as part:
        save_file(tensors, part, metadata={"run_id": run_id, "progress": json.dumps(asdict(progress))})


def restore_state(
    path: Path, run_id: str, model: BagModel, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]
) -> Progress | None:
    """Put the state of an interrupted run in place, or return None where there is none of this run."""
    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("run_id") != run_id:
            return None
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            kind, _, name = key.partition("/")
            parts[kind][name] = file.get_tensor(key)
    load_learned(model, parts["model"], path)
    best.update(parts["best"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, _, moment = name.partition("/")
        moments.setdefault(int(index), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return Progress(**json.loads(metadata["progress"]))
