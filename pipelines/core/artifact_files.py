"""How the files in an output folder are described: their path pattern, format, contents, and when they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipelines.core.file_layouts import Entry, Hdf5Layout
from pipelines.core.tables import TableArtifact

ALWAYS = "always"

METADATA = (
    Entry("five.schema", "string", "name of the schema"),
    Entry("five.schema_version", "integer", "version of the schema"),
    Entry("five.version", "string", "version of five-wsi that wrote the file"),
    Entry("five.settings", "string", "settings of the command, as JSON"),
    Entry("five.settings_fingerprint", "string", "fingerprint of the settings"),
    Entry("five.input_fingerprint", "string", "fingerprint of the input files, empty where it is not used"),
)
"""Metadata of every Parquet table and HDF5 file."""
DIGEST = Entry("five.digest", "string", "SHA-256 of the file as it is with 64 zeros in place of this value")
"""Additional metadata of every Parquet table."""


@dataclass(frozen=True)
class ArtifactFile:
    """A file, or one file per item, inside an output folder."""

    pattern: str
    """Path below the folder; a part in angle brackets varies, and ``<slide_id>`` may contain ``/``."""
    kind: str
    """File format."""
    content: str
    when: str = ALWAYS
    """When the file is written."""
    temporary: bool = False
    """The command removes the file before it ends."""
    table: TableArtifact | None = None
    hdf5: Hdf5Layout | None = None
    entries: tuple[Entry, ...] = ()
    """Columns of a CSV file, or top-level keys of a YAML or JSON file."""
    metadata: tuple[Entry, ...] = ()
    """Parquet metadata besides `METADATA` and `DIGEST`."""

    @property
    def literal(self) -> str:
        """The pattern without its varying parts."""
        return re.sub(r"<\w+>", "", self.pattern)

    @property
    def is_summary(self) -> bool:
        """Whether the file is a Parquet table about the whole folder, not about one slide."""
        return self.table is not None and self.pattern == self.literal

    def matches(self, path: str) -> bool:
        """Return whether ``path``, relative to the folder, fits the pattern."""
        parts = re.split(r"<\w+>", self.pattern)
        return re.fullmatch(".+".join(map(re.escape, parts)), path) is not None


@dataclass(frozen=True)
class ArtifactFolder:
    """The output folder of one command."""

    name: str
    """Name used in the documentation; users choose their own."""
    command: str
    files: tuple[ArtifactFile, ...]
    note: str = ""

    def files_for(self, path: str) -> list[ArtifactFile]:
        """Return the files whose pattern fits ``path`` best: those with the longest literal text."""
        matching = [file for file in self.files if file.matches(path)]
        longest = max((len(file.literal) for file in matching), default=0)
        return [file for file in matching if len(file.literal) == longest]
