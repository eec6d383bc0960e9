"""Check the sizes that a TIFF file claims, before libraries reserve memory for them.

OpenSlide ends the whole process if memory cannot be reserved. A file of a few KB may claim tiles of gigabytes, or
millions of tiles that it does not have. Directories that cannot be read are left to the reader of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.core.errors import SlideError
from pipelines.slides.readers.base import DAMAGED

MAX_TILE_PIXELS = 2**26
"""Maximum number of pixels of a stored tile (8,192 x 8,192); scanners use up to 4,096 x 4,096."""
MAX_DIRECTORIES = 1_000
"""Maximum number of directories that are read; slides have about ten."""
MAX_ENTRIES = 10_000
"""Maximum number of entries of a directory that is read."""
MAX_VALUES = 5_000_000
"""Maximum number of values of an entry that are read; the largest slides have a million tiles."""
BYTES_PER_TILE = 5
"""Minimum number of bytes that a file needs per tile: four for its position, one for its data."""
WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH, SUB_DIRECTORIES = 256, 257, 322, 323, 330
"""Numbers of TIFF tags."""
BYTE_COUNTS = (279, 325)
"""Numbers of the tags with the sizes of stored strips and tiles."""
TAGS = (WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH, SUB_DIRECTORIES, *BYTE_COUNTS)
TYPES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types of whole numbers in TIFF, as in `struct`."""

Directory = dict[int, tuple[int, ...]]
"""Tag -> values, of the tags named here."""


def refuse_false_claims(path: Path) -> None:
    """Check the tiles of every directory of ``path``, if it is a TIFF file.

    Raises
    ------
    SlideError
        A tile is too large, or the file is too small for the number of its tiles.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        for directory in _directories(stream, size):
            if any(count > size for tag in BYTE_COUNTS for count in directory.get(tag, ())):
                raise SlideError(f"{path}: claims to have a tile or strip that is larger than the file", hint=DAMAGED)
            width, length, tile_width, tile_length = (
                directory.get(tag, (0,))[0] for tag in (WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH)
            )
            if not (tile_width and tile_length):
                continue
            if tile_width * tile_length > MAX_TILE_PIXELS:
                raise SlideError(
                    f"{path}: its tiles have {tile_width:,} x {tile_length:,} pixels, more than {MAX_TILE_PIXELS:,}",
                    hint=DAMAGED,
                )
            tiles = -(-width // tile_width) * -(-length // tile_length)
            if tiles * BYTES_PER_TILE > size:
                raise SlideError(
                    f"{path}: too small for the {width:,} x {length:,} pixels that it claims to have", hint=DAMAGED
                )


def _directories(stream: BinaryIO, size: int) -> Iterator[Directory]:
    """Yield the directories that can be read; each one once, also if they form a circle."""
    head = stream.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
    version = struct.unpack(f"{order}H", head[2:4])[0] if order and len(head) == 16 else 0
    if version not in (42, 43):
        return
    layout = _Layout(order, big=version == 43)
    todo, seen = [layout.first(head)], set[int]()
    while todo and len(seen) < MAX_DIRECTORIES:
        position = todo.pop()
        if position in seen or not 0 < position < size:
            continue
        seen.add(position)
        try:
            directory, following = layout.read(stream, position)
        except struct.error:
            continue
        yield directory
        todo += [*directory.get(SUB_DIRECTORIES, ()), following]


class _Layout:
    """Sizes of the fields of a TIFF file, which are larger in a BigTIFF file."""

    def __init__(self, order: str, *, big: bool) -> None:
        self._order = order
        self._offset = "Q" if big else "I"
        self._count = "Q" if big else "H"
        self._entry = f"{order}HHQ8s" if big else f"{order}HHI4s"
        self._first = 8 if big else 4

    def first(self, head: bytes) -> int:
        """Return the position of the first directory."""
        return int(struct.unpack_from(f"{self._order}{self._offset}", head, self._first)[0])

    def read(self, stream: BinaryIO, position: int) -> tuple[Directory, int]:
        """Return the directory at ``position`` and the position of the next one."""
        stream.seek(position)
        count = self._number(stream, self._count)
        if count > MAX_ENTRIES:
            raise struct.error
        data = stream.read(count * struct.calcsize(self._entry))
        following = self._number(stream, self._offset)
        directory = {}
        for tag, kind, number, value in struct.iter_unpack(self._entry, data):
            if tag in TAGS and kind in TYPES:
                directory[tag] = self._values(stream, TYPES[kind], min(number, MAX_VALUES), value)
        return {tag: values for tag, values in directory.items() if values}, following

    def _values(self, stream: BinaryIO, kind: str, number: int, value: bytes) -> tuple[int, ...]:
        """Return the values of an entry, which are in the entry itself if they fit into it."""
        form = f"{self._order}{number}{kind}"
        length = struct.calcsize(form)
        if length > len(value):
            stream.seek(struct.unpack(f"{self._order}{self._offset}", value)[0])
            value = stream.read(length)
        return struct.unpack(form, value[:length])

    def _number(self, stream: BinaryIO, kind: str) -> int:
        form = f"{self._order}{kind}"
        return int(struct.unpack(form, stream.read(struct.calcsize(form)))[0])
