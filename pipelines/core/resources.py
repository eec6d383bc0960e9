"""Resources of the stages: how fast they work, and where.

Nothing here changes an artifact, so nothing here is recorded in one. The commands make their options from these
classes, as they do from the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pipelines.core.settings.fields import Limits, check_fields

AtLeastOne = Limits(min=1)


@dataclass(frozen=True)
class BaseResources:
    """Base of the resources classes, whose fields become options of the commands."""

    group: ClassVar[str] = "Execution"
    """Title under which the commands list the fields."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Resources(BaseResources):
    """Resources of a stage whose only resource is the device."""

    device: str = "auto"
    """Device to compute on: ``auto`` (CUDA, MPS or CPU), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Only `five embed`
    takes several: ``cuda:0,1`` runs one process on each."""


@dataclass(frozen=True)
class SlideResources(Resources):
    """Resources of a stage that reads slides."""

    stage_dir: Path | None = None
    """Local scratch folder: slides are copied there before they are read. Use it if slides are on slow storage."""


@dataclass(frozen=True)
class TileResources(SlideResources):
    """Resources of ``five tile``; the device is used by tissue networks only.

    At most ``workers + 3`` slides are in ``stage_dir`` at a time; each is deleted after it is tiled.
    """

    workers: Annotated[int, AtLeastOne] = 1
    """Number of parallel processes."""
    ray: str | None = None
    """Run on a Ray cluster at this address: ``auto``, ``host:port``, ``ray://host:10001`` or ``local``."""


@dataclass(frozen=True)
class EmbedResources(SlideResources):
    """Resources of ``five embed``."""

    workers: Annotated[int, AtLeastOne] = 2
    """Number of threads per device that read tiles ahead."""
    batch_size: Annotated[int, AtLeastOne] = 64
    """Number of tiles encoded at once; lower it if the device runs out of memory."""
    compile: bool = False
    """Compile the encoder first. Takes about a minute; worth it for many slides."""


@dataclass(frozen=True)
class DescribeReportsResources(Resources):
    """Resources of ``five describe-reports``."""

    workers: Annotated[int, AtLeastOne] = 8
    """Number of concurrent requests."""
    base_url: str | None = None
    """Server address for --backend openai, for example http://127.0.0.1:8000/v1."""
    timeout: Annotated[float, Limits(above=0)] = 300.0
    """Seconds to wait for a server that sends nothing; only for --backend openai. Raise it for slow models."""
    retries: Annotated[int, Limits(min=0)] = 4
    """Number of retries after a lost connection or a busy server; only for --backend openai."""
    gpus: Annotated[int, AtLeastOne] = 1
    """Number of GPUs that share the model; only for --backend vllm."""
    gpu_memory: Annotated[float, Limits(min=0.05, max=1)] = 0.9
    """Fraction of each GPU's memory to use; only for --backend vllm."""
    context: Annotated[int | None, AtLeastOne] = None
    """Maximum number of tokens of a report and its reply; only for --backend vllm. If not set, the model's own
    maximum."""


@dataclass(frozen=True)
class DemoResources(BaseResources):
    """Resources of ``five demo``."""

    workers: Annotated[int, AtLeastOne] = 1
    """Number of parallel processes."""
