"""Columns of a CSV as Arrow's, with the row named where a cell is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # else imported only where a CSV is read
    import pyarrow as pa
    from pyarrow import csv


def read_columns(path: str | Path, options: csv.ConvertOptions) -> pa.Table:
    """Read a CSV with a line of column names.

    Raises:
        pyarrow.ArrowInvalid: no CSV, or a cell that is no value of its column; the message names
            the row, which Arrow knows only where one thread reads.
    """
    import pyarrow as pa
    from pyarrow import csv

    try:
        return csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid:
        one_by_one = csv.ReadOptions(use_threads=False)
        return csv.read_csv(path, convert_options=options, read_options=one_by_one)
