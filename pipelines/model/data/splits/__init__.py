"""Train, validation and test splits: drawn at random, read from files, or taken from an earlier run."""

from pipelines.model.data.splits.known_slides import KnownSlides, recorded_rows
from pipelines.model.data.splits.patient_splits import make_splits
from pipelines.model.data.splits.run_splits import run_splits
from pipelines.model.data.splits.split_files import read_splits

__all__ = ["KnownSlides", "make_splits", "read_splits", "recorded_rows", "run_splits"]
