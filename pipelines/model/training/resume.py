"""Save and restore the state of an interrupted run: weights, optimizer, best weights and metrics in one file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipelines.core.files import replacing
from pipelines.core.json_text import parse_json
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import load_learned
from pipelines.model.training.progress import Progress

STATE = "last.safetensors"


@dataclass(frozen=True)
class ResumeFile:
    """The file from which an interrupted run resumes."""

    path: Path
    run_id: str
    """Fingerprint of the settings and inputs; a state of another run is ignored."""

    def save(
        self, model: BagModel, optimizer: torch.optim.Optimizer, best: dict[str, Tensor], progress: Progress
    ) -> None:
        """Write the state; a file is replaced only when the new one is complete."""
        tensors = {f"model/{name}": weight for name, weight in model.learned_state().items()}
        tensors |= {f"best/{name}": weight for name, weight in best.items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value).cpu() for name, value in moments.items()}
        with replacing(self.path) as part:
            save_file(tensors, part, metadata={"run_id": self.run_id, "progress": json.dumps(asdict(progress))})

    def restore(self, model: BagModel, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]) -> Progress | None:
        """Load the state into ``model``, ``optimizer`` and ``best``; return None if there is no state of this run."""
        if not self.path.exists():
            return None
        with safe_open(self.path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("run_id") != self.run_id:
                return None
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
            for key in file.keys():  # noqa: SIM118 - not a mapping
                part, _, name = key.partition("/")
                parts[part][name] = file.get_tensor(key)
        load_learned(model, parts["model"], self.path)
        best.update(parts["best"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return Progress(**parse_json(metadata["progress"]))
