"""How fast a stage works, and where. Nothing here changes an artifact, so nothing here is recorded in one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """Resources of every stage that computes with tensors."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""


@dataclass(frozen=True)
class TileResources(Resources):
    """Resources of ``five tile``; the device runs tissue networks only."""

    workers: int = 1
    """Processes on this machine."""
    stage_dir: Path | None = None
    """Local folder to which slides on slow storage are copied before they are read, at most
    ``workers + 3`` at a time; each copy is deleted afterwards."""
    ray: str | None = None
    """Address of a Ray cluster to use instead of ``workers``: ``auto``, ``host:port``,
    ``ray://host:10001`` or ``local``."""


@dataclass(frozen=True)
class EmbedResources(Resources):
    """Resources of ``five embed``; a device such as ``cuda:0,1`` runs one process per GPU."""

    workers: int = 2
    """Threads per device that read tiles ahead of the encoder."""
    batch_size: int = 64
    """Tiles per forward pass."""
    compile: bool = False
    """Compile the network with torch first, which takes a minute and pays off with many slides."""
    stage_dir: Path | None = None
    """Local folder to which slides on slow storage are copied before they are read."""


@dataclass(frozen=True)
class DescribeReportsResources(Resources):
    """Resources of ``five describe-reports``."""

    workers: int = 8
    """Concurrent requests (backend ``openai``)."""
    base_url: str | None = None
    """Server of backend ``openai``, for example ``http://127.0.0.1:8000/v1``."""
    gpus: int = 1
    """Backend ``vllm``: GPUs that share the model (tensor parallel)."""
    gpu_memory: float = 0.9
    """Backend ``vllm``: fraction of each GPU's memory to use."""
    context: int | None = None
    """Backend ``vllm``: maximum number of tokens of a prompt and its reply; None takes the
    model's own maximum, which may need much memory."""


@dataclass(frozen=True)
class DemoResources:
    """Resources of ``five demo``."""

    workers: int = 1
    """Processes on this machine."""
