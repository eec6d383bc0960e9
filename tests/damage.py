"""One small artifact of every kind that a later command reads, and damage to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.core.attention_file import AttentionMaps, read_attention, write_attention
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import content_fingerprint, read_bag, read_info, read_notes, slide_dimensions
from pipelines.core.folder import claim_folder, read_claim
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import TABLES
from pipelines.core.settings import TileSettings
from pipelines.core.tables import TableArtifact
from pipelines.reports.journal import Journal
from tests.synthetic_features import write_bag

MADE = Provenance.of(TileSettings(), "0123")
N_ROWS = 20
ZEROS = 512
"""Bytes of a block that is overwritten with zeros."""


@dataclass(frozen=True)
class Sample:
    """A kind of artifact: how to write a small one, and how later commands read it."""

    name: str
    file: str
    write: Callable[[Path], object]
    """Write the artifact to a path."""
    read: Callable[[Path], Any]
    """Return all values in the file."""

    def outcome(self, path: Path, expected: Any) -> str:
        """Read a damaged file: ``noticed``, ``harmless`` (the values are the same) or ``silent``."""
        try:
            values = self.read(path)
        except ArtifactError:
            return "noticed"
        if repr(values) == repr(expected):
            return "harmless"
        # reports whose lines are missing are asked about again
        is_journal = self.name == "journal" and all(record in expected for record in values)
        return "noticed" if is_journal else "silent"


def _row(artifact: TableArtifact, number: int) -> dict[str, Any]:
    names = [*artifact.schema.names, *(f"{prefix}{name}" for prefix in artifact.families or {} for name in "AB")]
    values: dict[str, Any] = {}
    for field in artifact.schema_with(names[len(artifact.schema) :]):
        if pa.types.is_boolean(field.type):
            values[field.name] = bool(number % 2)
        elif pa.types.is_integer(field.type):
            values[field.name] = number * 37
        elif pa.types.is_floating(field.type):
            values[field.name] = number / 7
        else:
            values[field.name] = f"{field.name} {number % 5}"
    return values


def _table(artifact: TableArtifact) -> Sample:
    rows = [_row(artifact, number) for number in range(N_ROWS)]
    return Sample(
        artifact.name,
        "table.parquet",
        lambda path: artifact.write(path, rows, MADE, notes={"five.row": '{"slide_id": "a"}'}),
        lambda path: (artifact.read_rows(path), artifact.notes(path), artifact.provenance(path)),
    )


def _features(path: Path) -> None:
    write_bag(path.parent, path.stem, np.random.default_rng(0).normal(size=(N_ROWS, 8)))


def _read_features(path: Path) -> Any:
    some = read_bag(path, np.array([0, 3, N_ROWS - 1]))
    bag = read_bag(path)
    values = [array.tolist() for array in (bag.features, bag.coords, some.features, some.coords)]
    return values, read_info(path), read_notes(path), slide_dimensions(path), content_fingerprint(path)


def _attention(path: Path) -> None:
    weights = np.random.default_rng(0).random((3, N_ROWS))
    write_attention(
        path,
        AttentionMaps(
            weights, ["growth", "margin", "free"], np.ones((N_ROWS, 2), int), 448, np.ones((2, N_ROWS)), ["A", "B"]
        ),
        MADE,
    )


def _read_attention(path: Path) -> Any:
    maps = read_attention(path)
    return maps.weights.tolist(), maps.prompts, maps.coords.tolist(), maps.tile_size_level0


def _journal(path: Path) -> None:
    with Journal(path.parent) as journal:
        for number in range(N_ROWS):
            answers = {"growth": {"status": "present", "evidence": f"quote {number}", "confidence": 0.5}}
            journal.append({"report_id": f"r{number}", "work": "1", "status": "ok", "answers": answers})


def _claim(path: Path) -> None:
    claim_folder(path.parent, "five tile", MADE)


SAMPLES = (
    *map(_table, TABLES),
    Sample("features", "a.h5", _features, _read_features),
    Sample("attention", "a.h5", _attention, _read_attention),
    Sample("five.json", "five.json", _claim, lambda path: read_claim(path.parent)),
    Sample("journal", "journal.jsonl", _journal, lambda path: Journal(path.parent).records),
)


def flips(content: bytes, number: int) -> Iterator[bytes]:
    """Yield ``content`` with one wrong bit, for about ``number`` bits that are evenly spread."""
    step = max(1, 8 * len(content) // number) | 1  # odd, so that all bits of a byte are reached
    for bit in range(0, 8 * len(content), step):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def cuts(content: bytes) -> Iterator[bytes]:
    """Yield the empty file, the start of ``content`` at several lengths, and ``content`` with bytes after its end."""
    lengths = (0, 1, 8, 100, ZEROS, len(content) // 4, len(content) // 2, len(content) - 8, len(content) - 1)
    yield from (content[:length] for length in lengths if length < len(content))
    yield content + b"\0"


def zeroed(content: bytes) -> Iterator[bytes]:
    """Yield ``content`` with one block of zeros, at every multiple of the size of a block, and all zeros."""
    for start in range(0, len(content), ZEROS):
        block = content[start : start + ZEROS]
        yield content[:start] + bytes(len(block)) + content[start + ZEROS :]
    yield bytes(len(content))


def outcomes(sample: Sample, folder: Path, number: int) -> dict[str, Counter[str]]:
    """Write a sample, damage it in every way, and return how often each kind of damage had each outcome."""
    path = folder / sample.file
    sample.write(path)
    content, expected = path.read_bytes(), sample.read(path)
    found = {}
    for kind, damaged in (("flips", flips(content, number)), ("cuts", cuts(content)), ("zeros", zeroed(content))):
        found[kind] = Counter[str]()
        for other in damaged:
            path.write_bytes(other)
            found[kind][sample.outcome(path, expected)] += 1
    return found
