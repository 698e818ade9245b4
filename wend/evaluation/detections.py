"""Detections as files: COCO results or Parquet in; COCO results, CSV or Parquet out.

A table has the columns ``image_id, x0, y0, x1, y1, score``, boxes in original pixels; a Parquet
file may add ``width`` and ``height``, which are then checked against the ground truth's.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wend.errors import InputError, MissingFileError
from wend.evaluation.coco_results import detections_to_coco, read_results
from wend.evaluation.detection_rows import DetectionRows, to_table
from wend.evaluation.per_image import box_scores
from wend.files import atomic_write, write_json
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

if TYPE_CHECKING:  # else imported only where a Parquet file is read or written
    import pyarrow as pa

COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "score")
SIZE_COLUMNS = ("width", "height")
PARQUET_SUFFIXES = (".parquet", ".pq")


def _encode_ids(column: pa.ChunkedArray) -> tuple[list, np.ndarray]:
    """Distinct values of an Arrow column, and each row's index (N,) into them."""
    encoded = column.combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):  # a chunked array of no or several chunks
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def _open_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected detections as Parquet")
    try:
        file = parquet.ParquetFile(path)
        absent = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if absent:
            raise InputError(
                f"{path}: has no column {', '.join(absent)}; expected {', '.join(COLUMNS)}, got "
                f"{', '.join(file.schema_arrow.names)}"
            )
        sizes = [name for name in SIZE_COLUMNS if name in file.schema_arrow.names]
        return file.read(columns=[*COLUMNS, *(sizes if len(sizes) == 2 else [])])
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{path}: not a whole Parquet file ({error}); make or copy it again"
        ) from error


def read_parquet_rows(path: str | Path) -> DetectionRows:
    """Read a Parquet file of detections.

    Raises:
        InputError: no such file, a missing column, an empty cell, another type.
    """
    table = _open_parquet(Path(path))
    from pyarrow import types

    for name in table.column_names:
        column, kind = table[name], table.schema.field(name).type
        if name == "image_id":
            kind = kind.value_type if types.is_dictionary(kind) else kind
            fits = types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind)
        else:
            fits = types.is_floating(kind) or types.is_integer(kind)
        if not fits:
            raise InputError(f"{path}: column {name} is of type {kind}, expected numbers or names")
        if column.null_count:
            first = int(np.argmax(column.is_null().to_numpy()))
            raise InputError(f"{path}, row {first}: column {name} is empty")
    if types.is_dictionary(table.schema.field("image_id").type):
        plain = table["image_id"].cast(table.schema.field("image_id").type.value_type)
        table = table.set_column(table.column_names.index("image_id"), "image_id", plain)
    ids, codes = _encode_ids(table["image_id"])

    def columns(*names: str) -> np.ndarray:
        return np.column_stack([table[name].to_numpy().astype(np.float64) for name in names])

    sizes = columns(*SIZE_COLUMNS) if "width" in table.column_names else None
    scores = columns("score")[:, 0]
    return DetectionRows(str(path), "row", ids, codes, columns(*COLUMNS[1:5]), scores, sizes)


def load_detections(
    path: str | Path, data_set: DataSet, outside: str = "count"
) -> tuple[BoxTable, dict]:
    """Read a detections file of any kind; see :func:`.detection_rows.to_table`."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", *PARQUET_SUFFIXES):
        raise InputError(
            f"{path}: expected detections as COCO results (.json) or Parquet (.parquet), got "
            f"{suffix or 'a name without ending'}"
        )
    rows = read_parquet_rows(path) if suffix in PARQUET_SUFFIXES else read_results(path)
    return to_table(rows, data_set, outside)


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
