"""Arrow arrays from buffers are those that pyarrow makes, and come without pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from wend.structures import arrow

COLUMNS = {
    "strings": ["a", "", "ÄÖ/ü.jpg", "b" * 70],
    "strings and null": [None, "a", None, ""],
    "integers": [1, -(2**62), 3],
    "integers and null": [1, None, -7],
    "floats and null": [0.5, None, float("inf"), None],
    "nulls": [None, None],
    "none": [],
    "int64": np.arange(5),
    "int32, every other": np.arange(9, dtype=np.int32)[::2],
    "float32": np.array([0.5, np.inf], dtype=np.float32),
    "float64, no rows": np.zeros(0),
    "bool": np.array([True, False]),
    "text of NumPy": np.array(["a", "bc"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_that_of_pyarrow(name):
    values = COLUMNS[name]
    array = arrow.arrow_column(values)
    array.validate(full=True)
    assert array.equals(pa.array(values))
    assert array.type == pa.array(values).type


def test_strings_that_are_none():
    assert arrow.strings(["a", "ü"]).equals(pa.array(["a", "ü"], pa.large_string()))
    with pytest.raises(UnicodeEncodeError):
        arrow.strings(["half a pair: \ud800"])
    with pytest.raises(TypeError):
        arrow.strings([b"bytes"])


ARRAYS = {
    "integers": pa.array([3, 1, 2]),
    "part": pa.array(range(20))[7:15],
    "bool, part": pa.array([True, False, True] * 9)[9:21],
    "float": pa.array([0.5, float("nan")], pa.float32()),
    "chunks": pa.chunked_array([pa.array([1, 2])[1:], pa.array([3])]),
    "no chunk": pa.chunked_array([], pa.int32()),
    "empty": pa.array([], pa.float64()),
    "empty part": pa.array([1, 2])[2:],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_numbers_are_those_of_pyarrow(name):
    wanted = ARRAYS[name].to_numpy(**({} if name in ("chunks", "no chunk") else CONVERTED))
    numbers = arrow.numbers_of(ARRAYS[name])
    np.testing.assert_array_equal(numbers, wanted, strict=True)


CONVERTED = {"zero_copy_only": False}


def test_nulls_become_a_number():
    part = pa.array([1, None, 3, None, 5])[1:4]
    assert arrow.numbers_of(part, null=-1).tolist() == [-1, 3, -1]
    assert arrow.numbers_of(part.is_null()).tolist() == [True, False, True]


def test_matching_and_writing_load_no_pandas(tmp_path):
    code = """
import sys
import numpy as np
from wend.evaluation.detections import write_parquet
from wend.pseudo_boxes.keys import Keys
from wend.structures.names import match_names

keys = Keys(["root/a/b.jpg", "root/a/c.jpg"])
assert match_names(Keys(["b.png", "c.jpg"]).arrow, keys.arrow, "test").tolist() == [0, 1]
assert keys.first().tolist() == keys.find(keys).tolist() == [0, 1]
columns = {"id": ["a", "b"], "x": np.zeros(2), "rank": [None, 1]}
write_parquet(sys.argv[1], columns)
print([name for name in ("pandas", "torch") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.parquet")], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
