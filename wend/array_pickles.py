"""Pickles of arrays, numbers, text and plain containers, read without running anything of theirs.

NumPy's own functions are not safe with what a pickle may hand them: ``numpy.ndarray(1, object,
buffer)`` makes Python objects of a file's bytes, and ``dtype.__setstate__`` takes the flag that
says so from the file. What an array pickles as is therefore made here, of plain types alone.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

PLAIN = "biufcSU"  # kinds of numbers and of text of a fixed length
ORDERS = "<>=|"


def _NDARRAY(*arguments: object) -> None:  # noqa: N802  # stands for a class
    """``numpy.ndarray``, which only :func:`_array` may be given: a file may not call it."""
    raise pickle.UnpicklingError("makes an array by numpy.ndarray, of no bytes of its own")


def _latin1(text: str, encoding: str) -> bytes:
    """Bytes, as the pickle protocols before 3 write them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"holds bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(data: object) -> bytes:
    """An array's bytes; those of Python 2 are text when a file is read as Latin-1."""
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("holds an array of Python objects, which is none of numbers")
    return bytes(data)


class _Kind:
    """A ``numpy.dtype`` as a pickle makes it: a code, then a state of which the order counts."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        code = code.decode("latin1") if isinstance(code, bytes) else code
        self.dtype = np.dtype(code) if isinstance(code, str) else np.dtype(object)
        if self.dtype.kind not in PLAIN:
            raise pickle.UnpicklingError(f"holds an array of {code!r}, which is none of numbers")

    def __setstate__(self, state: tuple) -> None:
        order, shape, names, fields = state[1:5]
        order = order.decode("latin1") if isinstance(order, bytes) else order
        if any(part is not None for part in (shape, names, fields)) or order not in ORDERS:
            raise pickle.UnpicklingError("holds an array of records, which is none of numbers")
        if self.dtype.byteorder != "|":
            self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


class _Array(np.ndarray):
    """An array whose state comes from a pickle."""

    def __setstate__(self, state: tuple) -> None:  # type: ignore[override]
        _, shape, kind, is_fortran, data = state
        if not isinstance(kind, _Kind):
            raise pickle.UnpicklingError("holds an array without a dtype")
        super().__setstate__((1, shape, kind.dtype, is_fortran, _bytes(data)))


def _array(kind: object, shape: object, code: object) -> _Array:
    """An empty array, which its state fills."""
    if kind is not _NDARRAY:
        raise pickle.UnpicklingError("holds an array of another class than numpy.ndarray")
    return np.zeros(0, np.int8).view(_Array)


def _array_of_bytes(data: object, kind: _Kind, shape: tuple, order: str) -> np.ndarray:
    if order not in ("C", "F"):
        raise pickle.UnpicklingError(f"holds an array in the order {order!r}")
    values: np.ndarray = np.frombuffer(_bytes(data), kind.dtype)
    return values.reshape(shape, order="C" if order == "C" else "F")


def _scalar(kind: _Kind, data: object = b"") -> np.generic:
    (value,) = np.frombuffer(_bytes(data), kind.dtype)
    return value


def _plain_dict(*factory: object) -> dict:
    """What stands for a ``collections.defaultdict``: its default is nobody's business."""
    return {}


_HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _plain_dict,
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Kind,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")  # of numpy 1 and 2
        for module, name, function in (
            ("multiarray", "_reconstruct", _array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _array_of_bytes),
        )
    },
}


class ArrayUnpickler(pickle.Unpickler):
    """Makes NumPy arrays and plain containers; anything else is an UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """What stands for the class or function of that name, if it is a harmless one."""
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array of numbers")
        return _HARMLESS[module, name]
