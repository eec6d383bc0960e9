"""Run the items of a batch on a Ray cluster, whose machines share the storage of inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.batch.isolation import Isolation, Named, Work, failed
from pipelines.core.batch.results import Result
from pipelines.core.errors import FiveError, SettingsError

AHEAD = 2
"""Items handed to the cluster for each of its processors."""


@dataclass(frozen=True)
class OnRay:
    """Runs a batch on the cluster at ``address``; a runner of `run_with`.

    Every item takes one processor. A worker that dies fails only the item it held, after one
    more try. The machines need this program installed and see inputs and outputs under the
    same absolute paths; locks and outputs are those of every batch.
    """

    address: str
    """``auto`` (the cluster this machine is part of), ``host:port``, ``ray://host:10001``, or ``local``."""
    work: Work

    def __call__(self, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
        """Yield the results in order of completion.

        Raises
        ------
        SettingsError
            Ray is not installed, or the cluster cannot be reached.
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
        raise SettingsError("--ray needs the package ray", hint="pip install 'five-wsi[ray]'") from error
    return ray


def _connect(ray: Any, address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"--ray {address}: no cluster can be reached there ({error})".splitlines()[0],
            hint="start one with `ray start --head`, or pass --ray local",
        ) from error


def _results(ray: Any, todo: Sequence[Named], isolated: Isolation, work: Work) -> Iterator[Result]:
    run = ray.remote(max_retries=1)(_work_on)
    room = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = iter(todo)
    running: dict[Any, str] = {}
    while True:
        while len(running) < room and (named := next(waiting, None)):
            running[run.remote(isolated, work, *named)] = named[1]
        if not running:
            return
        for done in ray.wait(list(running))[0]:
            name = running.pop(done)
            try:
                yield ray.get(done)
            except ray.exceptions.RayError as error:
                said = str(error).strip().splitlines()
                hint = f"out of memory, or killed: {said[0] if said else type(error).__name__}"
                yield failed(name, FiveError(f"{name}: the worker on the cluster died", hint=hint), isolated.folder)


def _work_on(isolated: Isolation, work: Work, item: Any, name: str) -> Result:
    """Run on a machine of the cluster (Ray takes functions only)."""
    return isolated(work, item, name)
