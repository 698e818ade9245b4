"""Detections as CSV: a header, and a row for each box."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.evaluation.detection_rows import CLASS_COLUMN, COLUMNS, SIZE_COLUMNS, DetectionRows
from wend.structures.arrow import numbers_of
from wend.structures.coded import CodedColumn
from wend.structures.data_set import DataSet


def read_csv_rows(path: str | Path, data_set: DataSet) -> DetectionRows:
    """Read a CSV file of detections.

    Ids are text in CSV: an id of the data set is found by how it is written, ``7`` for 7.

    Raises:
        InputError: no such file, no CSV, a missing column or one that is there twice, a cell that
            is empty or no number.
    """
    import pyarrow as pa
    from pyarrow import csv

    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected detections as CSV")
    numbers = [*COLUMNS[1:], *SIZE_COLUMNS]
    types = {"image_id": pa.dictionary(pa.int32(), pa.string()), CLASS_COLUMN: pa.int64()}
    types.update((name, pa.float64()) for name in numbers)
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=types, null_values=[""], strings_can_be_null=True
            ),
        )
        check_columns(path, table.column_names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: not a CSV of detections ({problem}); expected a header "
            f"{','.join(COLUMNS)} and a row for each box"
        ) from error
    wanted = [*COLUMNS, *(n for n in (*SIZE_COLUMNS, CLASS_COLUMN) if n in table.column_names)]
    for name in wanted:
        if table[name].null_count:
            row = int(np.argmax(numbers_of(table[name].is_null())))
            raise InputError(f"{path}, row {row}: column {name} is empty")
    ids = table["image_id"].combine_chunks()
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.unify_dictionaries().combine_chunks()
    columns = {name: numbers_of(table[name]) for name in wanted[1:]}
    sizes = None
    if set(SIZE_COLUMNS) <= set(columns):
        sizes = np.column_stack([columns[name] for name in SIZE_COLUMNS])
    classes = None
    if CLASS_COLUMN in columns:
        classes = CodedColumn.of_numbers(columns[CLASS_COLUMN])
    id_of = _ids_by_text(data_set)
    return DetectionRows(
        source=str(path),
        entry="row",
        ids=[id_of.get(text, text) for text in ids.dictionary.to_pylist()],
        codes=numbers_of(ids.indices).astype(np.int64),
        boxes=np.column_stack([columns[name] for name in COLUMNS[1:5]]).astype(np.float64),
        scores=columns["score"].astype(np.float64),
        sizes=sizes,
        classes=classes,
        class_name=CLASS_COLUMN,
    )


def check_columns(path: Path, names: list[str]) -> None:
    """Raise InputError unless a table has each column of detections, and once."""
    absent = [name for name in COLUMNS if name not in names]
    if absent:
        raise InputError(
            f"{path}: has no column {', '.join(absent)}; expected {', '.join(COLUMNS)}, got "
            f"{', '.join(names)}"
        )
    known = (*COLUMNS, CLASS_COLUMN, *SIZE_COLUMNS)
    twice = [name for name in known if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: expected each column once, got {some(twice)} more than once")


def _ids_by_text(data_set: DataSet) -> dict:
    return {str(image_id): image_id for image_id in data_set.image_ids}
