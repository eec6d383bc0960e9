"""Damage files the way disks, copies and people do."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

BLOCK = 512
"""Bytes of a block that is zeroed."""


def _flip(content: bytes, rng: random.Random) -> bytes:
    at, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
    return content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content))]


def _zero(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content)) // BLOCK * BLOCK
    end = min(start + BLOCK, len(content))
    return content[:start] + bytes(end - start) + content[end:]


DAMAGES: Mapping[str, Callable[[bytes, random.Random], bytes | None]] = {
    "flip": _flip,
    "truncate": _truncate,
    "zero": _zero,
    "empty": lambda content, rng: b"",
    "delete": lambda content, rng: None,
}


def damage(path: Path, how: str, seed: int) -> None:
    """Change the content of ``path``, or remove it."""
    before = path.read_bytes()
    after = DAMAGES[how](before, random.Random(seed)) if before else before
    if after is None:
        path.unlink()
    else:
        path.write_bytes(after)


def files(folder: Path) -> list[str]:
    """Return the files below ``folder`` that can be damaged, as relative paths."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if ".locks" not in path.parts and ".part" not in path.name)
