"""Save and restore the state of an interrupted run: weights, optimizer, best weights and metrics in one file.

The file contains its own digest. A damaged file is never loaded: training starts from the beginning.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from pipelines.core.errors import ArtifactError
from pipelines.core.files import replacing
from pipelines.core.json_text import parse_json
from pipelines.core.tensor_file import write_tensors
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import load_learned
from pipelines.model.training.progress import Progress

logger = logging.getLogger(__name__)

STATE = "last.safetensors"
NO_DIGEST = b"0" * 64
"""Value of the digest in the file when the digest is computed."""
_DIGEST = re.compile(rb'"digest":"([0-9a-f]{64})"')
_CHUNK = 1 << 20


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
        notes = {"run_id": self.run_id, "progress": json.dumps(asdict(progress)), "digest": NO_DIGEST.decode()}
        with replacing(self.path) as part:
            write_tensors(part, tensors, metadata=notes)
            with part.open("rb+") as stream:
                _, digest, position = _digests(stream)
                stream.seek(position)
                stream.write(digest)

    def discard_unusable(self) -> bool:
        """Remove a state that is damaged or of another run, and return whether a usable one is left."""
        is_usable = self._notes() is not None
        if not is_usable:
            self.path.unlink(missing_ok=True)
        return is_usable

    def restore(self, model: BagModel, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]) -> Progress | None:
        """Load the state into ``model``, ``optimizer`` and ``best``; return None if there is no usable state."""
        notes = self._notes()
        if notes is None:
            return None
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        with safe_open(self.path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a mapping
                part, _, name = key.partition("/")
                parts[part][name] = file.get_tensor(key)
        try:
            load_learned(model, parts["model"], self.path)
        except ArtifactError as error:  # another version of the program wrote it
            logger.warning("%s; training starts from the beginning", error)
            return None
        best.update(parts["best"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, moment = name.partition("/")
            moments.setdefault(int(index), {})[moment] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        return Progress(**parse_json(notes["progress"]))

    def _notes(self) -> dict[str, str] | None:
        """Return the metadata of an undamaged state of this run, or None."""
        try:
            with self.path.open("rb") as stream:
                written, digest, _ = _digests(stream)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            written, digest = b"", NO_DIGEST
        if written != digest:
            logger.warning("%s: damaged; training starts from the beginning", self.path)
            return None
        with safe_open(self.path, framework="pt") as file:
            notes: dict[str, str] = file.metadata()
        return notes if notes["run_id"] == self.run_id else None


def _digests(stream: BinaryIO) -> tuple[bytes, bytes, int]:
    """Return the digest written in a safetensors file, the digest of its content, and the position of the former.

    Raises
    ------
    ValueError
        The header is not that of a state.
    """
    length = stream.read(8)
    header = stream.read(min(int.from_bytes(length, "little"), _CHUNK * 64))
    found = _DIGEST.search(header)
    if found is None:
        raise ValueError("no digest")
    start, end = found.span(1)
    digest = hashlib.sha256(length + header[:start] + NO_DIGEST + header[end:])
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return found[1], digest.hexdigest().encode(), len(length) + start
