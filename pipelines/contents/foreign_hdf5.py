"""Describe a feature file of another program.

Such a file has no digest, and the HDF5 library may crash or hang on a damaged one. It is opened in another process.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import h5py

from pipelines.contents.contents import CAN_BE, Contents
from pipelines.contents.feature_facts import coords_facts, feature_facts
from pipelines.core.damage import UNREADABLE
from pipelines.core.errors import ArtifactError

NAMES = ("features", "feats", "embeddings")
"""Dataset names that other programs use for features."""
SECONDS = 120.0
"""Time after which the HDF5 library is assumed to hang."""


def foreign_contents(path: Path) -> Contents:
    """Describe the features in an HDF5 file that another program wrote.

    Raises
    ------
    ArtifactError
        The file is damaged, or contains no features.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_describe, args=(path, sender), daemon=True)
    process.start()
    sender.close()
    try:
        answer = receiver.recv() if receiver.poll(SECONDS) else "the HDF5 library does not answer"
    except EOFError:
        answer = "the HDF5 library crashes"
    process.kill()
    process.join()
    if isinstance(answer, Contents):
        return answer
    if answer is None:
        raise ArtifactError(f"{path}: HDF5 file without features or attention", hint=CAN_BE)
    raise ArtifactError(
        f"{path}: not a readable HDF5 file ({answer})", hint="the file is damaged; make it again with its program"
    )


def _describe(path: Path, answer: Connection) -> None:
    """Send the contents, None if the file has no features, or why it cannot be read."""
    try:
        answer.send(_contents(path))
    except UNREADABLE as error:
        answer.send(type(error).__name__)


def _contents(path: Path) -> Contents | None:
    with h5py.File(path, "r") as h5:
        datasets = {name: data for name, data in h5.items() if isinstance(data, h5py.Dataset)}
        name = next((name for name in NAMES if name in datasets and _is_matrix(datasets[name])), None)
        schema = h5.attrs.get("five.schema")
        if name is None:
            return None if schema is None else Contents(str(path), f"{schema} file of an earlier version of five")
        facts = feature_facts(datasets[name])
        if "coords" in datasets:
            facts |= coords_facts(datasets["coords"])
        facts["not_for_five"] = "no digest, and no record of the encoder; make the features with `five embed`"
        rows = [{"dataset": key, "shape": list(data.shape), "dtype": str(data.dtype)} for key, data in datasets.items()]
    is_trident = name == "features" and "coords" in datasets
    author = "another program" if schema is None else "an earlier version of five"
    what = f"feature file of {author}" + (" (the layout of TRIDENT and CLAM)" if is_trident else "")
    return Contents(str(path), what, facts, lists={"datasets": rows})


def _is_matrix(data: h5py.Dataset) -> bool:
    return bool(data.ndim >= 2 and data.dtype.kind == "f")
