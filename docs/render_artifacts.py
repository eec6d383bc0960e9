"""Render docs/artifacts.md from the declared files and schemas: ``python docs/render_artifacts.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from pipelines.core.artifact_files import METADATA, ArtifactFile, ArtifactFolder
from pipelines.core.artifact_folders import FIVE_JSON, FOLDERS
from pipelines.core.file_layouts import Entry, Hdf5Layout
from pipelines.core.tables import TableArtifact

INTRODUCTION = """\
# Artifacts: every file that the commands write

<!-- Rendered from pipelines/core/artifact_folders.py and schemas.py by `make docs`; tests keep it up to date. -->

Look up here which files a command writes, when it writes them, and what each column and attribute means.

- Folder names are those of the examples; you choose your own with `-o`.
- `<slide_id>` is the id from the cohort table. An id with `/` makes subfolders.
- A file appears only when it is complete. While it is written, its name starts with a dot and contains `.part`.
- Coordinates are pixels at level 0 of the slide, x before y, and name the top-left corner of a tile.
- Fingerprints are 16 hexadecimal digits. Equal fingerprints mean equal content.
- `five inspect PATH` shows what a file or folder contains.

Every Parquet table and every HDF5 file carries this metadata: Parquet in the file metadata (as text), HDF5 in the
attributes of the root.

"""
INTEGRITY = """
A Parquet table also has `five.digest`: the SHA-256 of the file as it is with 64 zeros in place of the digest. Every
command that reads a table compares it. A table that is damaged, or that another program changed, is an error that names
the file. Other programs read the tables as usual.

The first 1,024 bytes of an HDF5 file, its *user block*, hold a line of JSON with the size of the file and a digest of
its content. `five` compares them before it opens the file. It also compares each row of `features` and `coords` that it
reads with `row_checksums`. Other programs skip the user block.
"""
SETTINGS = """
Every output folder holds the settings that it was made with, in `five.json`. A command refuses a folder that was made
with other settings, unless you pass `--overwrite`.

"""


def render() -> str:
    """Return the whole page."""
    folders = (text for folder in FOLDERS for text in folder_section(folder))
    introduction = (
        INTRODUCTION + entries_table("name", METADATA) + INTEGRITY + SETTINGS + entries_table("key", FIVE_JSON.entries)
    )
    return "\n".join([introduction, *folders])


def folder_section(folder: ArtifactFolder) -> Iterator[str]:
    """Yield the list of files of a folder, then the contents of each of its tables and HDF5 files."""
    files = markdown_table(
        ("file", "format", "content", "written"),
        ((f"`{file.pattern}`", file.kind, file.content, written(file)) for file in folder.files),
    )
    note = f"\n{folder.note}\n" if folder.note else ""
    yield f"## {folder.name}/\n\nWritten by `{folder.command}`.\n\n{files}{note}"
    for file in folder.files:
        if file.entries == FIVE_JSON.entries:
            continue  # explained once, at the top
        if contents := "\n".join(file_contents(file)):
            yield f"### {folder.name}/{file.pattern}\n\n{contents}"


def written(file: ArtifactFile) -> str:
    """Return when a file is written."""
    return f"{file.when}, then removed" if file.temporary else file.when


def file_contents(file: ArtifactFile) -> Iterator[str]:
    """Yield the tables that describe what is inside a file."""
    if file.table:
        yield f"Table `{file.table.name}`, version {file.table.version}.\n"
        yield entries_table("column", table_entries(file.table))
    if file.hdf5:
        yield from hdf5_contents(file.hdf5)
    if file.entries:
        yield entries_table("column" if file.kind == "CSV" else "key", file.entries)
    if file.metadata:
        yield "Further metadata:\n"
        yield entries_table("name", file.metadata)


def table_entries(table: TableArtifact) -> Iterator[Entry]:
    """Yield the columns of a Parquet table; columns per class are shown as ``prefix<class>``."""
    for field in table.columns:
        yield Entry(field.name, kind(field), meaning(field))
    for prefix, field in (table.families or {}).items():
        yield Entry(f"{prefix}<class>", kind(field), meaning(field))


def hdf5_contents(layout: Hdf5Layout) -> Iterator[str]:
    """Yield the datasets of an HDF5 file, then its attributes."""
    yield entries_table("dataset", (Entry(data.name, data.kind, data.meaning) for data in layout.datasets))
    for data in layout.datasets:
        if data.attributes:
            yield f"Attributes of `{data.name}`:\n"
            yield entries_table("attribute", data.attributes)
    if layout.attributes:
        yield "Further attributes of the root:\n"
        yield entries_table("attribute", layout.attributes)


def kind(field: pa.Field) -> str:
    """Return the type of a column in words."""
    text = str(field.type)
    return "dictionary of string" if text.startswith("dictionary") else text


def meaning(field: pa.Field) -> str:
    """Return the meaning of a column, with its unit."""
    text: str = field.metadata[b"meaning"].decode()
    return text


def entries_table(word: str, entries: Iterable[Entry]) -> str:
    """Return a Markdown table of named values."""
    return markdown_table(
        (word, "type", "meaning"), ((f"`{entry.name}`", entry.kind, entry.meaning) for entry in entries)
    )


def markdown_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    cells = [header, ("---",) * len(header), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


if __name__ == "__main__":
    Path(__file__).with_name("artifacts.md").write_text(render(), encoding="utf-8")
