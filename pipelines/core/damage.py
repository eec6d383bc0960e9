"""Errors for artifacts that are missing, damaged, or not written by this version of five."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.errors import ArtifactError

UNREADABLE = (OSError, ValueError, LookupError, TypeError, RuntimeError)
"""What pyarrow, h5py and NumPy raise for a file that they cannot read."""


def read_artifact(path: Path, made_by: str) -> bytes:
    """Return all bytes of the file that the command ``made_by`` writes.

    Raises
    ------
    ArtifactError
        The file is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise cannot_read(path, made_by, error) from error


def cannot_read(path: Path, made_by: str, error: OSError) -> ArtifactError:
    """Return the error to raise if opening or reading ``path`` fails with ``error``."""
    if isinstance(error, FileNotFoundError):
        return ArtifactError(f"{path}: no such file", hint=f"run {made_by} first; it writes this file")
    return ArtifactError(
        f"{path}: cannot be read ({error.strerror})", hint="check the path, its permissions and the disk"
    )


def damaged(path: Path, made_by: str, reason: str) -> ArtifactError:
    """Return the error to raise if the content of ``path`` has changed since it was written."""
    return ArtifactError(
        f"{path}: damaged, or changed by another program ({reason})", hint=f"delete it and run {made_by} again"
    )


def without_digest(path: Path, made_by: str) -> ArtifactError:
    """Return the error to raise if ``path`` has no digest, so that damage could not be noticed."""
    return ArtifactError(
        f"{path}: no digest; an earlier version of five or another program wrote this file",
        hint=f"delete it and run {made_by} again",
    )
