"""A damaged artifact is noticed by every command that reads it: no other values, no traceback, no crash.

HDF5 files are read in this process, so a crash of the HDF5 library would end the tests.
``python -m tests.benchmarks.damage`` tries many more bits and prints a table.
"""

import pytest

from pipelines.core.schemas import TABLES
from tests.damage import SAMPLES, outcomes


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_damage_is_noticed_or_changes_no_value(sample, tmp_path):
    found = outcomes(sample, tmp_path, number=120)
    for kind, counts in found.items():
        assert counts["silent"] == 0, kind
        assert counts["noticed"] > 0, kind
    assert found["flips"].total() >= 100


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_an_undamaged_file_is_read_again_with_the_same_values(sample, tmp_path):
    path = tmp_path / sample.file
    sample.write(path)
    assert sample.outcome(path, sample.read(path)) == "harmless"


def test_there_is_a_sample_of_every_table():
    assert {table.name for table in TABLES} < {sample.name for sample in SAMPLES}
