"""COCO results straight to arrays with pyarrow: a plain, correct file at tens of MB a second.

Anything else (another type, a null, NaN, a cut file, a nested object) is not an error here: the
answer is None, and :mod:`wend.formats.coco` reads the file row by row and names what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wend.evaluation.detection_rows import DetectionRows
from wend.files import MAX_NUMBER
from wend.structures.boxes import xywh_to_xyxy

BLOCK_BYTES = 1 << 26
_BETWEEN = re.compile(rb"\}\s*,\s*\{")


class _NotPlain(Exception):  # noqa: N818  # no error: the slow reader takes over
    pass


def _json_lines(path: str | Path) -> Iterator[bytes]:
    """The objects of a JSON list, one a line, in blocks."""
    with open(path, "rb") as file:
        rest = file.read(BLOCK_BYTES).lstrip()
        if not rest.startswith(b"["):
            raise _NotPlain
        rest = rest[1:]
        while data := file.read(BLOCK_BYTES):
            rest += data
            cut = rest.rfind(b"},") + 1
            if cut:
                yield _BETWEEN.sub(b"}\n{", rest[:cut])
                rest = rest[cut + 1 :]
        rest = rest.rstrip()
        if not rest.endswith(b"]"):
            raise _NotPlain
        if rest := rest[:-1].strip():
            yield _BETWEEN.sub(b"}\n{", rest)


def _read_table(path: str | Path, id_type):
    import pyarrow as pa
    from pyarrow import json

    schema = pa.schema(
        [
            ("image_id", id_type),
            ("category_id", pa.int64()),
            ("bbox", pa.list_(pa.float64())),
            ("score", pa.float64()),
        ]
    )
    options = json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    tables = [
        json.read_json(pa.BufferReader(lines), parse_options=options) for lines in _json_lines(path)
    ]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()


def encode_ids(column) -> tuple[list, np.ndarray]:
    """Distinct values of an Arrow column, and each row's index (N,) into them."""
    encoded = column.combine_chunks().dictionary_encode()
    if hasattr(encoded, "combine_chunks"):  # a chunked array of no or several chunks
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy().astype(np.int64)


def read_results_fast(path: str | Path, category_id: int) -> DetectionRows | None:
    """COCO results as arrays, or None if pyarrow is missing or anything is unusual.

    Args:
        category_id: the one that every row must have.
    """
    try:
        import pyarrow as pa
    except ImportError:
        return None
    for id_type in (pa.int64(), pa.string()):
        try:
            table = _read_table(path, id_type)
        except (pa.ArrowException, _NotPlain, OSError):
            continue
        return _to_rows(table, str(path), category_id)
    return None


def _to_rows(table, path: str, category_id: int) -> DetectionRows | None:
    if any(column.null_count for column in table.columns):
        return None
    boxes = table["bbox"].combine_chunks()
    if (np.diff(boxes.offsets.to_numpy()) != 4).any() or boxes.flatten().null_count:
        return None
    xywh = boxes.flatten().to_numpy(zero_copy_only=False).reshape(-1, 4)
    scores = table["score"].to_numpy()
    plain = (
        (table["category_id"].to_numpy() == category_id).all()
        and (np.abs(xywh) < MAX_NUMBER).all()
        and (xywh[:, 2:] >= 0).all()
        and (np.abs(scores) < MAX_NUMBER).all()
    )
    if not plain:
        return None
    ids, codes = encode_ids(table["image_id"])
    return DetectionRows(path, "entry", ids, codes, xywh_to_xyxy(xywh), scores)
