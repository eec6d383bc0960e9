"""Build Arrow arrays without importing pandas.

``pyarrow.array`` imports pandas, if installed, only to check for pandas objects. The import would
take half of the start-up time of a short command, and 40 MB in every worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Arrow type names -> NumPy names, for those that differ."""


def arrow_array(
    values: Sequence[Any] | NDArray[Any], kind: pa.DataType, *, valid: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Return the same array as ``pyarrow.array(values, kind)``, for numbers, booleans and strings.

    Parameters
    ----------
    values
        A list, in which None is null, or a NumPy array.
    valid
        (N,), False for null entries of a NumPy array.

    Raises
    ------
    TypeError, OverflowError
        A value does not fit ``kind``.
    """
    if pa.types.is_dictionary(kind):
        codes = {name: code for code, name in enumerate(dict.fromkeys(v for v in values if v is not None))}
        indices = arrow_array([codes.get(value) for value in values], kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, arrow_array(list(codes), kind.value_type))
    if not isinstance(values, np.ndarray):
        valid = np.fromiter((value is not None for value in values), bool, len(values))
    bits = None if valid is None or valid.all() else _bits(valid)
    return pa.Array.from_buffers(kind, len(values), [bits, *_buffers(values, kind)])


def _buffers(values: Sequence[Any] | NDArray[Any], kind: pa.DataType) -> list[pa.Buffer]:
    if pa.types.is_string(kind):
        texts = [b"" if text is None else text.encode() for text in values]
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        return [pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    dtype = np.dtype(FLOATS.get(str(kind), str(kind)))  # some versions of `to_pandas_dtype` import pandas
    zero = dtype.type(0)
    given = (
        values
        if isinstance(values, np.ndarray)
        else np.asarray([zero, *(zero if v is None else v for v in values)])[1:]
    )
    numbers = given.astype(dtype, casting="same_kind")
    if pa.types.is_boolean(kind):
        return [_bits(numbers)]
    if pa.types.is_integer(kind) and (numbers != given).any():
        raise OverflowError(f"a number does not fit {kind}")
    return [pa.py_buffer(np.ascontiguousarray(numbers))]


def _bits(mask: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(mask, bitorder="little"))
