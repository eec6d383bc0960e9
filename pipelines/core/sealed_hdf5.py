"""HDF5 files with a digest of their own bytes, so that damage is noticed before the HDF5 library opens them.

A single wrong bit in the header of an HDF5 file can crash the HDF5 library. The digest is in the *user block* at the
start of the file, which the library and the programs that use it skip. It is a line of JSON with these keys:

- ``artifact``, ``version``: kind of the file
- ``size``: bytes in the file
- ``bulk``: dataset -> first byte and number of bytes; readers check these datasets row by row
- ``rest``: SHA-256 of all other bytes after the user block
- ``digest``: digest of this record, see `sealed_json`
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from pipelines.core.damage import UNREADABLE, cannot_read, damaged, without_digest
from pipelines.core.errors import ArtifactError
from pipelines.core.sealed_json import open_sealed, seal

BLOCK = 8192
"""Size of the user block, bytes. HDF5 allows 512 and its multiples by powers of two."""
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
"""First bytes of an HDF5 file without user block."""
CHUNK = 1 << 20
"""Bytes read at a time for the digest."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class SealedFile:
    """An open file whose digest has been checked."""

    h5: h5py.File
    record: Record
    """The record in the user block."""
    _stream: BinaryIO

    def rows(self, name: str, rows: NDArray[np.integer[Any]] | slice) -> NDArray[Any]:
        """Return rows of a bulk dataset; the caller checks them. A few rows are read by memory mapping."""
        dataset = self.h5[name]
        if isinstance(rows, slice) or name not in self.record["bulk"]:
            values: NDArray[Any] = dataset[rows]
        else:  # several times faster than h5py; the size of the file was checked, so the map ends within it
            mapped = np.memmap(self._stream, dataset.dtype, "r", self.record["bulk"][name][0], dataset.shape)
            values = mapped[rows].view(np.ndarray)
        return values


@dataclass(frozen=True)
class Hdf5Artifact:
    """A kind of HDF5 file: its name and version, and the command that writes it."""

    name: str
    made_by: str
    version: int
    bulk: tuple[str, ...] = ()
    """Contiguous datasets that the digest leaves out, because they are large and are checked row by row."""

    def seal(self, path: Path, **notes: Any) -> None:
        """Write the record to the user block of ``path``, which is complete and closed.

        Parameters
        ----------
        notes
            Additional keys of the record, plain JSON data.
        """
        with h5py.File(path, "r") as h5:
            present = {name: h5[name].id for name in self.bulk if h5[name].size}
            bulk = {name: (dataset.get_offset(), dataset.get_storage_size()) for name, dataset in present.items()}
        with path.open("rb+") as stream:
            record = {"artifact": self.name, "version": self.version, **notes}
            record |= {"size": _size(stream), "bulk": bulk, "rest": _digest(stream, list(bulk.values()))}
            text = json.dumps(seal(record), ensure_ascii=False).encode()
            if len(text) >= BLOCK:
                raise ValueError(f"a record of {len(text)} bytes does not fit into the user block")
            stream.seek(0)
            stream.write(text.ljust(BLOCK - 1) + b"\n")

    def record(self, path: Path) -> Record:
        """Return the record of ``path`` after checking everything except the bulk datasets.

        Raises
        ------
        ArtifactError
            The file is missing, damaged, of another kind or version, or has no digest.
        """
        with self._open_stream(path) as stream:
            return self._check(path, stream)

    @contextmanager
    def open(self, path: Path) -> Iterator[SealedFile]:
        """Open ``path`` after checking everything except the bulk datasets.

        Raises
        ------
        ArtifactError
            As `record`; also if h5py or NumPy fail in the block.
        """
        with ExitStack() as stack:
            try:
                yield self._open_checked(path, stack)
            except UNREADABLE as error:  # the digest fits, so only a file made on purpose comes here
                raise damaged(path, f"`{self.made_by}`", f"{type(error).__name__} while reading") from error

    def _open_checked(self, path: Path, stack: ExitStack) -> SealedFile:
        while True:
            stream = stack.enter_context(self._open_stream(path))
            record = self._check(path, stream)
            h5 = stack.enter_context(h5py.File(path, "r"))
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):  # else another process replaced the file
                return SealedFile(h5, record, stream)

    @contextmanager
    def _open_stream(self, path: Path) -> Iterator[BinaryIO]:
        try:
            stream = path.open("rb")
        except OSError as error:
            raise cannot_read(path, f"`{self.made_by}`", error) from error
        with stream:
            yield stream

    def _check(self, path: Path, stream: BinaryIO) -> Record:
        record = checked_record(path, stream, f"`{self.made_by}`")
        if record["artifact"] != self.name:
            hint = f"expected the file '{self.name}' that `{self.made_by}` writes"
            raise ArtifactError(f"{path}: this is the file '{record['artifact']}'", hint=hint)
        if record["version"] != self.version:
            raise ArtifactError(
                f"{path}: version {record['version']} of '{self.name}', but this program reads version {self.version}",
                hint=f"run `{self.made_by}` again" if record["version"] < self.version else "update five-wsi",
            )
        return record


def checked_record(path: Path, stream: BinaryIO, made_by: str) -> Record:
    """Return the record of the file open in ``stream`` after checking everything except the bulk datasets.

    Raises
    ------
    ArtifactError
        The file is damaged, or has no digest.
    """
    try:
        block = stream.read(BLOCK)
        if block.startswith(HDF5_MAGIC):
            raise without_digest(path, made_by)
        if not block.startswith(b"{"):
            raise damaged(path, made_by, "not an HDF5 file of five" if block else "the file is empty")
        record = open_sealed(block.decode())
        if record["size"] != _size(stream):
            raise damaged(path, made_by, f"{_size(stream)} bytes instead of {record['size']}")
        if record["rest"] != _digest(stream, list(record["bulk"].values())):
            raise damaged(path, made_by, "the content does not match its digest")
    except OSError as error:
        raise cannot_read(path, made_by, error) from error
    except UNREADABLE as error:
        raise damaged(path, made_by, "the record of its digests has changed") from error
    return record


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _digest(stream: BinaryIO, left_out: list[tuple[int, int]]) -> str:
    """Return the SHA-256 of all bytes after the user block, except those ``left_out`` (start and number)."""
    digest, position = hashlib.sha256(), BLOCK
    for start, length in [*sorted(left_out), (_size(stream), 0)]:
        stream.seek(position)
        while position < start:
            data = stream.read(min(CHUNK, start - position))
            digest.update(data)
            position += len(data) or start  # a file that shrinks meanwhile gives another digest
        position = start + length
    return digest.hexdigest()
