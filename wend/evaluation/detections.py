"""Detections as files: COCO results or Parquet in; COCO results, CSV or Parquet out.

A table has the columns ``image_id, x0, y0, x1, y1, score``, boxes in original pixels; a Parquet
file may add ``width`` and ``height``, which are then checked against the ground truth's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.evaluation.coco_results import detections_to_coco, read_results
from wend.evaluation.detection_rows import DetectionRows, to_table
from wend.evaluation.per_image import box_scores
from wend.files import atomic_write, write_json
from wend.structures.box_table import BoxTable
from wend.structures.coded import Encoder
from wend.structures.data_set import DataSet

if TYPE_CHECKING:  # else imported only where a Parquet file is read or written
    import pyarrow as pa
    from pyarrow import parquet

COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "score")
SIZE_COLUMNS = ("width", "height")
PARQUET_SUFFIXES = (".parquet", ".pq")


BATCH_ROWS = 1 << 16  # rows of a Parquet file decoded at a time


def _open_parquet(path: Path) -> parquet.ParquetFile:
    from pyarrow import parquet

    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected detections as Parquet")
    file = parquet.ParquetFile(path, read_dictionary=["image_id"], pre_buffer=False)
    names = file.schema_arrow.names
    absent = [name for name in COLUMNS if name not in names]
    if absent:
        raise InputError(
            f"{path}: has no column {', '.join(absent)}; expected {', '.join(COLUMNS)}, got "
            f"{', '.join(names)}"
        )
    return file


def _check_types(path: Path, schema: pa.Schema, numbers: Iterable[str]) -> None:
    """Raise InputError unless ``image_id`` holds ids and the columns of numbers, numbers."""
    from pyarrow import types

    for name in ("image_id", *numbers):
        kind = schema.field(name).type
        if name == "image_id":
            kind = kind.value_type if types.is_dictionary(kind) else kind
            fits = types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)
        else:
            fits = types.is_floating(kind) or types.is_integer(kind)
        if not fits:
            raise InputError(f"{path}: column {name} is of type {kind}, expected numbers or names")


def _check_cells(path: Path, batch: pa.RecordBatch, start: int) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count:
            row = start + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
            raise InputError(f"{path}, row {row}: column {name} is empty")


def _encode(ids: Encoder, column: pa.Array) -> np.ndarray:
    """The number (n,) of each id of a batch."""
    encoded = column.dictionary_encode()  # itself where the file holds it so
    index = encoded.indices.to_numpy()
    used = np.flatnonzero(np.bincount(index))  # a dictionary may be of many batches
    code = np.zeros(len(encoded.dictionary), dtype=np.int64)
    code[used] = ids.encode(encoded.dictionary.take(used).to_pylist())
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
        _check_types(path, file.schema_arrow, columns)
        batches = file.iter_batches(BATCH_ROWS, columns=["image_id", *columns], use_threads=False)
        start = 0
        for batch in batches:
            rows = slice(start, start + len(batch))
            _check_cells(path, batch, start)
            codes[rows] = _encode(ids, batch["image_id"])
            for name, column in columns.items():
                column[rows] = batch[name].to_numpy()
            start = rows.stop
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a whole Parquet file ({error}); make or copy it again"
        ) from error
    return DetectionRows(str(path), "row", ids.values, codes, boxes, scores, sizes)


def load_detections(
    path: str | Path, data_set: DataSet, outside: str = "count", implausible: str | None = None
) -> tuple[BoxTable, dict]:
    """Read a detections file of any kind; see :func:`.detection_rows.to_table`."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", *PARQUET_SUFFIXES):
        raise InputError(
            f"{path}: expected detections as COCO results (.json) or Parquet (.parquet), got "
            f"{suffix or 'a name without ending'}"
        )
    rows = read_parquet_rows(path) if suffix in PARQUET_SUFFIXES else read_results(path)
    return to_table(rows, data_set, outside, implausible)


def _table_columns(data_set: DataSet, detections: BoxTable) -> list[list]:
    ids = data_set.image_ids
    image_ids = [ids[image] for image in detections.owner.tolist()]
    return [image_ids, *detections.boxes.T.tolist(), box_scores(detections).tolist()]


def write_parquet(path: str | Path, columns: dict[str, object]) -> None:
    """Write equally long columns as Parquet, byte for byte the same for the same values."""
    import pyarrow as pa
    from pyarrow import parquet

    with atomic_write(path, "wb") as file:
        parquet.write_table(pa.table(columns), file, compression="zstd")


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
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(zip(*_table_columns(data_set, detections), strict=True))
    elif suffix in PARQUET_SUFFIXES:
        write_parquet(path, dict(zip(COLUMNS, _table_columns(data_set, detections), strict=True)))
    else:
        raise InputError(f"{path}: detections are written as .json, .csv or .parquet")
