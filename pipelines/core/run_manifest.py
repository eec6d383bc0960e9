"""``manifest.json`` of a run folder: which files belong to the run, with the SHA-256 of each.

`five train` writes it last, so it also marks a complete run. Whoever reads a file of a run checks it here first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import __version__
from pipelines.core.errors import ArtifactError
from pipelines.core.files import file_digest, fingerprint
from pipelines.core.sealed_json import open_sealed, write_sealed

MANIFEST = "manifest.json"
VERSION = 1
"""Format of the manifest; a run with another version is refused."""
CONFIG, WEIGHTS, SPLITS_FILE, METRICS_FILE = "config.yaml", "model.safetensors", "splits.parquet", "metrics.parquet"
CLASSES, QUESTIONS, CURVES = "classes.yaml", "questions.yaml", "learning_curves.png"
TRAINED = (WEIGHTS, CONFIG, METRICS_FILE)
"""Files that only training makes."""
REMAKEABLE = (SPLITS_FILE, CLASSES, QUESTIONS, CURVES)
"""Files that `five train` makes again from the inputs and the metrics, without training."""


@dataclass(frozen=True)
class RunManifest:
    """The files of a complete run, and what the run was made from."""

    folder: Path
    settings: Mapping[str, Any]
    """Settings of the training."""
    inputs: Mapping[str, Any]
    """Input -> its fingerprint; for the features, slide id -> fingerprint."""
    best_epoch: int
    files: Mapping[str, str]
    """Name -> SHA-256 of the file."""

    @classmethod
    def read(cls, folder: Path) -> RunManifest:
        """Read the manifest of a run.

        Raises
        ------
        ArtifactError
            ``folder`` is not a complete run of this version, or its manifest is damaged.
        """
        path = folder / MANIFEST
        again = "run its `five train` command again; it trains the model again"
        try:
            record = open_sealed(path.read_text(encoding="utf-8"))
            if record["version"] != VERSION:
                raise ArtifactError(
                    f"{path}: written by another version of five (manifest {record['version']}, expected {VERSION})",
                    hint=f"{again}. Or use the version of five that wrote it",
                )
            names = ("settings", "inputs", "best_epoch", "files")
            return cls(folder, **{name: record[name] for name in names})
        except FileNotFoundError as error:
            raise ArtifactError(
                f"{path}: no such file, so this is not a complete run",
                hint="give the output folder of `five train`. If training was interrupted, or an earlier version of "
                "five wrote the folder, run the same `five train` command again",
            ) from error
        except OSError as error:
            raise ArtifactError(
                f"{path}: cannot be read ({error.strerror})", hint="check the path and its permissions"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{path}: damaged or edited", hint=again) from error

    def write(self) -> None:
        """Write the manifest to the folder of the run."""
        record = {
            "version": VERSION,
            "five_version": __version__,
            "settings": self.settings,
            "inputs": self.inputs,
            "best_epoch": self.best_epoch,
            "files": self.files,
        }
        write_sealed(self.folder / MANIFEST, record)

    @property
    def run_id(self) -> str:
        """Fingerprint of the settings and inputs."""
        return run_id(self.settings, self.inputs)

    @property
    def digest(self) -> str:
        """Fingerprint of everything that predictions of the run depend on.

        The splits, classes and questions are part of the inputs. So a file that was made again changes nothing.
        """
        return fingerprint([self.run_id, *(self.files.get(name) for name in TRAINED[:2])])

    def verified(self, name: str) -> Path:
        """Return the path of a file after checking that it is the one that the run was written with.

        Raises
        ------
        ArtifactError
            The file is missing, damaged, edited, or belongs to another run.
        """
        if name not in self.files:
            raise ArtifactError(f"{self.folder}: the run has no {name}", hint="run its `five train` command again")
        wrong = self.problem(name)
        if wrong:
            raise ArtifactError(f"{self.folder / name}: {wrong}", hint=_remedy(name))
        return self.folder / name

    def optional(self, name: str) -> Path | None:
        """Return the path of a file as `verified` does, or None if the run has no such file.

        Raises
        ------
        ArtifactError
            See `verified`; also if there is such a file that does not belong to the run.
        """
        if name in self.files:
            return self.verified(name)
        if (self.folder / name).exists():
            raise ArtifactError(
                f"{self.folder / name}: this file does not belong to the run, which was trained without one",
                hint=f"move it to another folder{_INSTEAD.get(name, '')}",
            )
        return None

    def problem(self, name: str) -> str:
        """Return what is wrong with a file of the run, or an empty string."""
        try:
            is_same = file_digest(self.folder / name) == self.files[name]
        except FileNotFoundError:
            return "no such file, but it belongs to the run"
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        return "" if is_same else "not as `five train` wrote it: damaged, edited, or from another run"


def run_id(settings: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that depend on the settings and inputs of a run."""
    return fingerprint([fingerprint(settings), fingerprint(inputs)])


_INSTEAD = {CLASSES: ", and pass it with --classes"}
"""File that users may want to replace -> how to do that."""


def _remedy(name: str) -> str:
    if name in REMAKEABLE:
        other_texts = ". To predict with other texts, pass --classes" if name == CLASSES else ""
        return f"run the `five train` command of this run again; it makes this file again without training{other_texts}"
    return "run the `five train` command of this run again; it trains the model again"
