"""Arrow arrays built from buffers, compared with those of pyarrow."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.arrow_arrays import arrow_array

INT8 = st.integers(-(2**7), 2**7 - 1)
KINDS = {
    "int8": (pa.int8(), INT8),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "integers as double": (pa.float64(), INT8),
    "booleans": (pa.bool_(), st.booleans()),
    "text": (pa.string(), st.text()),
    "names": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["", "white", "é", "black"])),
}


@pytest.mark.parametrize(("kind", "value"), KINDS.values(), ids=KINDS)
@settings(deadline=None)  # pyarrow.array imports pandas the first time
@given(data=st.data())
def test_a_list_gives_the_same_array_as_pyarrow(kind, value, data):
    values = data.draw(st.lists(st.none() | value, max_size=20))
    array = arrow_array(values, kind)
    array.validate(full=True)
    assert array.type == kind
    assert array.to_pylist() == pa.array(values, kind).to_pylist()
    assert array.null_count == values.count(None)


def test_invalid_entries_of_a_numpy_array_become_null():
    sharpness = np.arange(20, dtype=np.float32)[::2]
    array = arrow_array(sharpness, pa.float32(), valid=sharpness != 4)
    assert array.to_pylist() == [0, 2, None, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1.5], pa.int32()), ([200], pa.int8()), (["5"], pa.int32()), ([1], pa.bool_()), ([2**63], pa.int64())],
    ids=["fraction", "too large", "text", "number", "far too large"],
)
def test_a_value_that_does_not_fit_is_refused(values, kind):
    with pytest.raises((TypeError, OverflowError)):
        arrow_array(values, kind)


def test_tables_are_written_and_read_without_pandas(tmp_path):
    program = """
import sys
from pathlib import Path
from pipelines.core.provenance import Provenance
from pipelines.core.schemas import METRICS
row = {"epoch": 1, "split": "train", "name": "loss", "value": 0.5}
METRICS.write(Path(sys.argv[1]), [row], Provenance({}))
assert METRICS.read_rows(Path(sys.argv[1])) == [row]
sys.exit("pandas" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "metrics.parquet")], check=True)
