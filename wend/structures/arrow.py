"""Between Arrow's arrays and Python's strings and NumPy's numbers, by their buffers.

``pyarrow.array`` asks of everything whether it is one of pandas', and ``to_numpy`` is made by what
makes pandas' series: either imports pandas, which takes as long as most of a command that needs
none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def strings(values: Sequence[str], *, large: bool = True) -> pa.Array:
    """An array (N,) of strings.

    Args:
        large: of type ``large_string``, whose characters may be more than 2**31.

    Raises:
        UnicodeEncodeError: one has half a character.
        TypeError: one is no string.
    """
    import pyarrow as pa

    encoded = [str.encode(value) for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    if not large:
        assert offsets[-1] < 2**31
        offsets = offsets.astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string() if large else pa.string(), len(encoded), buffers)


def integers(values: np.ndarray) -> pa.Int64Array:
    """An array of integers (N,)."""
    return _numbers(np.asarray(values, dtype=np.int64))


def _numbers(values: np.ndarray) -> pa.Array:
    import pyarrow as pa

    buffers = [None, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), buffers)


def booleans(values: np.ndarray) -> pa.BooleanArray:
    """An array of truth values (N,)."""
    import pyarrow as pa

    bits = np.packbits(np.asarray(values, dtype=bool), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


def arrow_column(values: np.ndarray | Sequence[Any]) -> pa.Array:
    """A column (N,) of a table, as ``pyarrow.array`` makes it.

    Args:
        values: numbers, or a list of strings, whole numbers or floats with None for nulls.
    """
    import pyarrow as pa

    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return _numbers(values)
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    kinds = {type(value) for value in plain} - {type(None)}
    if kinds == {str}:
        array = strings(["" if value is None else value for value in plain], large=False)
    elif kinds in ({int}, {float}):
        array = _numbers(np.array([0 if value is None else value for value in plain], kinds.pop()))
    elif kinds:
        return pa.array(values)
    else:
        return pa.nulls(len(plain))
    if None not in plain:
        return array
    is_value = booleans(np.array([value is not None for value in plain])).buffers()[1]
    return pa.Array.from_buffers(array.type, len(plain), [is_value, *array.buffers()[1:]])


def numbers_of(array: pa.Array | pa.ChunkedArray, null: float | None = None) -> np.ndarray:
    """The numbers or truth values (N,) of an array, as ``to_numpy`` gives them.

    Args:
        null: what stands for nulls; None where there are none.
    """
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        parts = [numbers_of(chunk, null) for chunk in array.chunks]
        return np.concatenate([np.empty(0, array.type.to_pandas_dtype()), *parts])
    valid, data = array.buffers()
    if data is None or not len(array):
        values = np.empty(0, array.type.to_pandas_dtype())
    elif pa.types.is_boolean(array.type):
        values = _bits(data, array)
    else:
        dtype = np.dtype(array.type.to_pandas_dtype())
        values = np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize)
    if array.null_count:
        assert null is not None
        values = np.where(_bits(valid, array), values, np.asarray(null, values.dtype))
    return values


def _bits(buffer: pa.Buffer, array: pa.Array) -> np.ndarray:
    """A buffer's bits (N,) as bool, one for each value of an array."""
    end = array.offset + len(array)
    bits = np.unpackbits(np.frombuffer(buffer, np.uint8), count=end, bitorder="little")
    return bits[array.offset :].astype(bool)
