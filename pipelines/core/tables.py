"""Parquet tables with a declared schema, written atomically, and validated when read.

Every table carries a digest of its bytes, which is checked whenever the file is read (see `parquet_digest`).
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.core import parquet_digest
from pipelines.core.arrow_arrays import arrow_array
from pipelines.core.damage import UNREADABLE, damaged
from pipelines.core.errors import ArtifactError
from pipelines.core.files import replacing
from pipelines.core.provenance import Provenance


def column(name: str, kind: pa.DataType, meaning: str, *, nullable: bool = True) -> pa.Field:
    """Return a column whose meaning, with its unit, is stored in the file."""
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


@dataclass(frozen=True)
class TableArtifact:
    """A kind of Parquet table: its name, version and columns, and the command that writes it."""

    name: str
    made_by: str
    columns: tuple[pa.Field, ...]
    version: int = 1
    families: Mapping[str, pa.Field] | None = None
    """Prefix -> type of any number of columns, for example ``prob_`` for one column per class."""
    private: bool = False
    """Whether the table holds report text, so that only the owner of the file may read it."""

    @property
    def schema(self) -> pa.Schema:
        """Schema of the declared columns, without families."""
        return pa.schema(self.columns)

    def schema_with(self, extra: Sequence[str]) -> pa.Schema:
        """Return the schema with ``extra`` columns, each of which belongs to a declared family."""
        fields = list(self.columns)
        for name in extra:
            family = self._family(name)
            fields.append(pa.field(name, family.type, metadata=family.metadata))
        return pa.schema(fields)

    def _family(self, name: str) -> pa.Field:
        for prefix, field in (self.families or {}).items():
            if name.startswith(prefix):
                return field
        raise ArtifactError(f"{self.name}: unknown column {name}")

    def write(
        self,
        path: Path,
        rows: Iterable[Mapping[str, Any]] | pa.Table,
        provenance: Provenance,
        *,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Write rows (mappings, or a table with these columns) to ``path``, completely or not at all.

        Parameters
        ----------
        notes
            Additional string attributes of the file; the method `notes` reads them back.
        """
        table = rows if isinstance(rows, pa.Table) else self._table(list(rows))
        table = table.replace_schema_metadata(
            {
                "five.schema": self.name,
                "five.schema_version": str(self.version),
                **provenance.to_attributes(),
                **(notes or {}),
                parquet_digest.KEY: parquet_digest.PLACEHOLDER,
            }
        )
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd", write_page_checksum=True)
        with replacing(path, private=self.private) as part:
            part.write_bytes(parquet_digest.with_digest(content.getvalue()))

    def _table(self, rows: list[Mapping[str, Any]]) -> pa.Table:
        declared = set(self.schema.names)
        extra = list(dict.fromkeys(key for row in rows for key in row if key not in declared))
        schema = self.schema_with(extra)
        arrays = [arrow_array([row.get(field.name) for row in rows], field.type) for field in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def read(self, path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Read ``path`` after checking that it is a complete table of this kind.

        Raises
        ------
        ArtifactError
            The file is missing or damaged, has no digest, has another kind or version, or lacks a column.
        """
        with self._open(path) as file:
            return file.read(columns=list(columns) if columns else None)

    def read_rows(self, path: Path) -> list[dict[str, Any]]:
        """Read ``path`` as one mapping per row."""
        rows: list[dict[str, Any]] = self.read(path).to_pylist()
        return rows

    def provenance(self, path: Path) -> Provenance:
        """Return the provenance of the table at ``path``."""
        return Provenance.from_attributes(self.notes(path))

    def notes(self, path: Path) -> dict[str, str]:
        """Return all string attributes of the file."""
        with self._open(path) as file:
            return _attributes(file)

    def is_current(self, path: Path, provenance: Provenance) -> bool:
        """Return whether ``path`` is undamaged and has the same settings and input as ``provenance``."""
        try:
            attributes = self.notes(path)
        except ArtifactError:
            return False
        return Provenance.from_attributes(attributes).same_work(provenance)

    @contextmanager
    def _open(self, path: Path) -> Iterator[pq.ParquetFile]:
        """Yield the file, read into memory, after checking its digest, kind, version and columns."""
        command = f"`{self.made_by}`"
        content = parquet_digest.read_checked(path, command)
        try:  # pq.read_table would import pandas; see `arrow_array`
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                self._check(path, file.schema_arrow)
                yield file
        except (*UNREADABLE, pa.ArrowException) as error:  # the digest fits, so only a file made on purpose comes here
            raise damaged(path, command, type(error).__name__) from error

    def _check(self, path: Path, schema: pa.Schema) -> None:
        metadata = schema.metadata or {}
        kind = metadata.get(b"five.schema", b"none").decode()
        hint = f"expected the table '{self.name}' that `{self.made_by}` writes"
        if kind != self.name:
            raise ArtifactError(f"{path}: this is the table '{kind}'", hint=hint)
        version = int(metadata.get(b"five.schema_version", b"0"))
        if version != self.version:
            raise ArtifactError(
                f"{path}: version {version} of '{self.name}', but this program reads version {self.version}",
                hint=f"run `{self.made_by}` again" if version < self.version else "update five-wsi",
            )
        for field in self.columns:
            if field.name not in schema.names:
                raise ArtifactError(f"{path}: column '{field.name}' is missing", hint=hint)
            actual = schema.field(field.name).type
            if actual != field.type:
                raise ArtifactError(f"{path}: column '{field.name}' is {actual}, expected {field.type}", hint=hint)


def _attributes(file: pq.ParquetFile) -> dict[str, str]:
    metadata = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if not key.startswith(b"ARROW")}
