"""Detections as files: COCO results, Parquet or CSV, in and out.

A table has the columns ``image_id, x0, y0, x1, y1, score``, boxes in original pixels or in a named
frame. It may add ``class_id``, the predicted class of each box from 0, and ``width`` and
``height``, which are then checked against the ground truth's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.evaluation.box_classes import row_classes
from wend.evaluation.coco_results import detections_to_coco, read_results
from wend.evaluation.detection_rows import (
    CLASS_COLUMN,
    COLUMNS,
    SIZE_COLUMNS,
    DetectionRows,
    to_table,
)
from wend.evaluation.detections_csv import check_columns, read_csv_rows
from wend.evaluation.per_image import box_scores
from wend.files import atomic_write, write_json
from wend.structures.arrow import arrow_column, integers, numbers_of
from wend.structures.box_table import BoxTable
from wend.structures.coded import CodedColumn, Encoder
from wend.structures.data_set import DataSet
from wend.structures.frame import ORIGINAL, parse_box_frame

if TYPE_CHECKING:  # else imported only where a Parquet file is read or written
    import pyarrow as pa
    from pyarrow import parquet

PARQUET_SUFFIXES = (".parquet", ".pq")
BATCH_ROWS = 1 << 15  # rows of a Parquet file decoded at a time


def _open_parquet(path: Path) -> parquet.ParquetFile:
    from pyarrow import parquet, types

    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected detections as Parquet")
    schema = parquet.read_schema(path)
    check_columns(path, schema.names)
    nested = types.is_nested(schema.field("image_id").type)  # no column of the file itself
    dictionaries = [] if nested else ["image_id"]
    return parquet.ParquetFile(path, read_dictionary=dictionaries, pre_buffer=False)


def _check_types(path: Path, file: parquet.ParquetFile, numbers: Iterable[str]) -> None:
    """Raise InputError unless ``image_id`` holds ids and the columns of numbers, numbers."""
    from pyarrow import types

    if file.metadata.num_rows == 0:
        return  # columns of nothing have any type
    for name in ("image_id", *numbers):
        kind = file.schema_arrow.field(name).type
        expected = "numbers"
        if name == "image_id":
            kind = kind.value_type if types.is_dictionary(kind) else kind
            fits = types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)
            expected = "whole numbers or text, as the ids of the ground truth"
        elif name == CLASS_COLUMN:
            fits, expected = types.is_integer(kind), "whole numbers"
        else:
            fits = types.is_floating(kind) or types.is_integer(kind)
        if not fits:
            raise InputError(f"{path}: column {name} is of type {kind}, expected {expected}")


def _check_cells(path: Path, batch: pa.RecordBatch, start: int) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            row = start + int(numbers_of(column.is_null()).argmax())
            raise InputError(f"{path}, row {row}: column {name} is empty")


def _encode(ids: Encoder, column: pa.Array) -> np.ndarray:
    """The number (n,) of each id of a batch."""
    encoded = column.dictionary_encode()  # itself where the file holds it so
    index = numbers_of(encoded.indices)
    used = np.flatnonzero(np.bincount(index))  # a dictionary may be of many batches
    code = np.zeros(len(encoded.dictionary), dtype=np.int64)
    code[used] = ids.encode(encoded.dictionary.take(integers(used)).to_pylist())
    return code[index]


def read_parquet_rows(path: str | Path) -> DetectionRows:
    """Read a Parquet file of detections.

    Raises:
        InputError: no such file, a missing column, an empty cell, another type.
    """
    import pyarrow as pa

    path = Path(path)
    try:
        file = _open_parquet(path)
        number, ids = file.metadata.num_rows, Encoder()
        codes = np.empty(number, dtype=np.int64)
        boxes, scores, sizes = np.empty((number, 4)), np.empty(number), None
        columns = dict(zip(COLUMNS[1:], [*boxes.T, scores], strict=True))  # views
        if all(name in file.schema_arrow.names for name in SIZE_COLUMNS):
            sizes = np.empty((number, 2))
            columns.update(zip(SIZE_COLUMNS, sizes.T, strict=True))
        classes = None
        if CLASS_COLUMN in file.schema_arrow.names:
            classes = columns[CLASS_COLUMN] = np.empty(number, dtype=np.int64)
        _check_types(path, file, columns)
        batches = file.iter_batches(BATCH_ROWS, columns=["image_id", *columns], use_threads=False)
        start = 0
        for batch in batches:
            rows = slice(start, start + len(batch))
            _check_cells(path, batch, start)
            codes[rows] = _encode(ids, batch["image_id"])
            for name, column in columns.items():
                column[rows] = numbers_of(batch[name])
            start = rows.stop
    except InputError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: not a whole Parquet file ({error}); make or copy it again"
        ) from error
    coded = None if classes is None else CodedColumn.of_numbers(classes)
    return DetectionRows(str(path), "row", ids.values, codes, boxes, scores, sizes, coded)


def load_detections(
    path: str | Path,
    data_set: DataSet,
    outside: str = "count",
    implausible: str | None = None,
    *,
    box_frame: str = ORIGINAL,
    box_classes: str | None = None,
) -> tuple[BoxTable, dict]:
    """Read a detections file of any kind.

    Args:
        path: a file that ends in ``.json`` (COCO results), ``.parquet``, ``.pq`` or ``.csv``.
        data_set: the images.
        outside, implausible: see :func:`.detection_rows.to_table`.
        box_frame: the frame of the file's boxes (:func:`wend.structures.frame.parse_box_frame`).
        box_classes: see :func:`.box_classes.row_classes`.

    Returns:
        The table, and its counts, as of :func:`.detection_rows.to_table`.

    Raises:
        InputError: names the file and the row.
    """
    frame = parse_box_frame(box_frame)
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        rows = read_results(path)
    elif suffix in PARQUET_SUFFIXES:
        rows = read_parquet_rows(path)
    elif suffix == ".csv":
        rows = read_csv_rows(path, data_set)
    else:
        raise InputError(
            f"{path}: expected detections as COCO results (.json), Parquet (.parquet) or CSV "
            f"(.csv), got {suffix or 'a name without ending'}"
        )
    class_ids = row_classes(rows, data_set, box_classes)
    return to_table(rows, data_set, outside, implausible, frame=frame, class_ids=class_ids)


def _table_columns(data_set: DataSet, detections: BoxTable) -> dict[str, np.ndarray | list]:
    """Detections as columns; ids of the data set's own kind also where there is no detection."""
    ids = data_set.image_ids
    whole = len(ids) > 0 and not isinstance(ids[0], str)
    image_ids: list | np.ndarray = [ids[image] for image in detections.owner.tolist()]
    if not image_ids:
        image_ids = np.zeros(0, dtype=np.int64 if whole else np.str_)
    boxes, scores = detections.boxes, box_scores(detections)
    columns = dict(zip(COLUMNS, [image_ids, *boxes.T, scores], strict=True))
    if detections.class_ids is not None:
        columns[CLASS_COLUMN] = detections.class_ids
    return columns


def write_parquet(path: str | Path, columns: Mapping[str, np.ndarray | list]) -> None:
    """Write equally long columns as Parquet, byte for byte the same for the same values."""
    import pyarrow as pa
    from pyarrow import parquet

    arrays = [arrow_column(values) for values in columns.values()]
    table = pa.Table.from_arrays(arrays, list(columns))
    with atomic_write(path, "wb") as file:
        parquet.write_table(table, file, compression="zstd")


def write_detections(path: str | Path, data_set: DataSet, detections: BoxTable) -> None:
    """Write a data set's detections as the path's ending says.

    ``.json`` (COCO results), ``.csv`` or ``.parquet``.

    Raises:
        InputError: another ending.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".json":
        write_json(path, detections_to_coco(data_set, detections))
    elif suffix == ".csv":
        with atomic_write(path) as file:
            columns = _table_columns(data_set, detections)
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            lists = (c if isinstance(c, list) else c.tolist() for c in columns.values())
            writer.writerows(zip(*lists, strict=True))
    elif suffix in PARQUET_SUFFIXES:
        write_parquet(path, _table_columns(data_set, detections))
    else:
        raise InputError(f"{path}: detections are written as .json, .csv or .parquet")
