"""Run the items of a batch on a Ray cluster with shared storage for inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.batch.isolation import Isolation, Named, Work, failed
from pipelines.core.batch.results import Result
from pipelines.core.errors import FiveError, SettingsError

ITEMS_PER_CPU = 2
"""Items submitted to the cluster at a time, per CPU."""


@dataclass(frozen=True)
class OnRay:
    """Runner for `run_with` that processes a batch on the cluster at ``address``.

    Each item uses one CPU. If a worker dies, its item is retried once, then fails. The machines need
    this program installed, and the same absolute paths for inputs and outputs.
    """

    address: str
    """``auto`` (the cluster of this machine), ``host:port``, ``ray://host:10001`` or ``local``."""
    work: Work

    def __call__(self, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
        """Yield the results in order of completion.

        Raises
        ------
        SettingsError
            Ray is not installed, or the cluster is unreachable.
        """
        ray = _ray()
        connected_here = not ray.is_initialized()
        if connected_here:
            _connect(ray, self.address)
        try:
            yield from _results(ray, todo, isolated, self.work)
        finally:
            if connected_here:
                ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise SettingsError(
            "--ray needs the package ray", hint="install it with: pip install 'five-wsi[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"--ray {address}: cannot reach a cluster ({error})".splitlines()[0],
            hint="start a cluster with `ray start --head`, or pass --ray local",
        ) from error


def _results(ray: Any, todo: Sequence[Named], isolated: Isolation, work: Work) -> Iterator[Result]:
    run = ray.remote(max_retries=1)(_work_on)
    max_running = ITEMS_PER_CPU * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(todo)
    running: dict[Any, str] = {}
    while True:
        while len(running) < max_running and (named := next(waiting, None)):
            running[run.remote(isolated, work, *named)] = named[1]
        if not running:
            return
        for done in ray.wait(list(running))[0]:
            name = running.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                lines = str(error).strip().splitlines()
                hint = f"it ran out of memory or was killed: {lines[0] if lines else type(error).__name__}"
                yield failed(name, FiveError(f"{name}: the worker on the cluster died", hint=hint), isolated.folder)


def _work_on(isolated: Isolation, work: Work, item: Any, name: str) -> Result:
    """Process one item on a machine of the cluster; Ray accepts only functions."""
    return isolated(work, item, name)
