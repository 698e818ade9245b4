"""The lists of a metadata folder of the wsolevaluation repository (Choe et al.).

``image_ids.txt`` (``<id>``), ``class_labels.txt`` (``<id>,<class from 0>``), ``image_sizes.txt``
(``<id>,<width>,<height>``) and ``localization.txt`` (``<id>,<x0>,<y0>,<x1>,<y1>``, a line per box).
The id is the image's listed file name; boxes are original pixels, taken as they stand.
For OpenImages30k ``image_sizes.txt`` is missing, and its ``localization.txt`` has a line
``<id>,<mask>,<ignore mask or nothing>`` for each instance (wsolevaluation 96f4b88,
data_loaders.py:119-146) instead of a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.errors import InputError, MissingFileError, some
from wend.files import MAX_NUMBER, open_bytes, read_lines, read_utf8, real_path
from wend.images.paths import SUFFIXES, check_relative
from wend.numerals import check_digits
from wend.structures.box_table import BoxTable
from wend.structures.checks import as_boxes
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles
from wend.structures.records import image_key

IDS, LABELS, SIZES, BOXES = (
    "image_ids.txt",
    "class_labels.txt",
    "image_sizes.txt",
    "localization.txt",
)


@dataclass(frozen=True, eq=False)
class Lists:
    """The content of a folder's lists for each image, in the order of ``image_ids.txt``.

    Attributes:
        class_ids: (I,) int64 classes from 0; -1 where the folder has no list of them.
        sizes: (I, 2) int64 width and height in pixels, or None.
        boxes: in original pixels, or None.
        masks: for each image its mask files as listed, safe below a root; or None.
    """

    class_ids: np.ndarray
    sizes: np.ndarray | None
    boxes: BoxTable | None
    masks: list[MaskFiles] | None


def is_wsoleval(folder: str | Path) -> bool:
    """Whether a folder holds such lists."""
    return (Path(folder) / IDS).is_file()


def _read_columns(
    data: bytes, columns: Sequence[str], kind: type
) -> tuple[list[str], np.ndarray] | None:
    """:func:`read_list` at once, of a text whose lines are all plain; None of any other."""
    import pyarrow as pa
    from pyarrow import csv

    if b"0x" in data or b"0X" in data:  # which Arrow reads as numbers
        return None
    number = pa.int64() if kind is int else pa.float64()
    try:
        table = csv.read_csv(
            pa.BufferReader(data),
            csv.ReadOptions(use_threads=False, column_names=["id", *columns]),
            csv.ParseOptions(quote_char=False),
            csv.ConvertOptions(
                column_types={"id": pa.string(), **dict.fromkeys(columns, number)}, null_values=[]
            ),
        )
    except pa.ArrowInvalid:
        return None
    names = table["id"].to_pylist()
    if not names or [*map(str.strip, names)] != names:
        return None
    numbers = [np.asarray(table[column]) for column in columns]
    return names, np.column_stack(numbers) if numbers else np.zeros((len(names), 0))


def read_list(path: Path, columns: Sequence[str], kind: type) -> tuple[list[str], np.ndarray]:
    """The ids and the numbers (lines, columns) of a list; a bad line is named."""
    most = 2**31 if kind is int else MAX_NUMBER
    line_form = ",".join(["<image id>", *(f"<{column}>" for column in columns)])
    data = read_utf8(path, f"lines '{line_form}'")
    usual = _read_columns(data, columns, kind)
    if usual is not None and (np.abs(usual[1]) < most).all():
        return usual
    lines = read_lines(path, f"lines '{line_form}'")
    rows = [line.strip().rsplit(",", len(columns)) for line in lines if line.strip()]
    if not rows:
        raise InputError(f"{path}: is empty; expected lines '{line_form}'")

    def numbers_of(rows: Sequence[list[str]]) -> np.ndarray:
        """The numbers (rows, columns); ValueError if some row is not as it should be."""
        texts = [text for row in rows for text in row[1:]]
        check_digits(texts)
        values = np.array([*map(kind, texts)])
        if {*map(len, rows)} != {1 + len(columns)} or not (np.abs(values) < most).all():
            raise ValueError
        return values.reshape(len(rows), -1)

    try:
        return [row[0] for row in rows], numbers_of(rows)
    except ValueError:
        for number, line in enumerate(lines, 1):
            try:
                if line.strip():
                    numbers_of([line.strip().rsplit(",", len(columns))])
            except ValueError:
                wrong = f"{path}, line {number}: expected '{line_form}', got {line!r}"
                raise InputError(wrong) from None
        raise


def _image_of_line(
    path: Path, names: Sequence[str], index: dict[str, int], once: bool
) -> np.ndarray:
    """Index of each line's image; once: each image has exactly one line."""
    unknown = [name for name in names if name not in index]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} lines are of images that {IDS} does not list ({some(unknown)})"
        )
    images = np.array([index[name] for name in names])
    if once:
        count = np.bincount(images, minlength=len(index))
        for problem, wrong in (("no line", count == 0), ("several lines", count > 1)):
            if wrong.any():
                bad = [name for name, is_bad in zip(index, wrong, strict=True) if is_bad]
                raise InputError(f"{path}: {problem} for {len(bad)} images ({some(bad)})")
    return images


def _read_column(
    path: Path, titles: Sequence[str], least: int, index: dict[str, int]
) -> np.ndarray:
    """Whole numbers (I, columns) from ``least`` of a list with one line for each image."""
    names, rows = read_list(path, titles, int)
    if rows.min() < least:
        first = names[int(rows.min(1).argmin())]
        raise InputError(f"{path}: image {first}: expected {' and '.join(titles)} from {least}")
    return rows[np.argsort(_image_of_line(path, names, index, once=True))]


def read_box_list(path: Path) -> tuple[list[str], np.ndarray]:
    """Names (B) and boxes (B, 4) xyxy of a ``localization.txt`` of boxes; a bad line is named."""
    names, boxes = read_list(path, ("x0", "y0", "x1", "y1"), float)
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if turned.any():
        first = int(np.argmax(turned))
        as_boxes(boxes[first : first + 1], f"{path}: image {names[first]}")
    return names, boxes


def _read_mask_list(path: Path, index: dict[str, int]) -> list[MaskFiles]:
    masks: list[list[str]] = [[] for _ in index]
    ignored: dict[int, str] = {}
    line_form = "<image id>,<mask file>,<ignore file or nothing>"
    for number, line in enumerate(read_lines(path, f"lines '{line_form}'"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, *rest = line.strip().rsplit(",", 2)
        if len(rest) != 2 or not rest[0]:
            raise InputError(f"{where}: expected '{line_form}', got {line!r}")
        if name not in index:
            raise InputError(f"{where}: {IDS} does not list the image {name!r}")
        image = index[name]
        masks[image].append(check_relative(rest[0], where))
        if rest[1]:
            file = check_relative(rest[1], where)
            if ignored.setdefault(image, file) != file:
                raise InputError(
                    f"{where}: image {name} has the ignore files {ignored[image]} and {file}; "
                    f"expected at most one for an image"
                )
    return [MaskFiles(tuple(files), ignored.get(i)) for i, files in enumerate(masks)]


def _holds_masks(path: Path) -> bool:
    with open_bytes(path, f"lines such as of wsolevaluation's {BOXES}") as lines:
        first = next((line for line in lines if line.strip()), b"").decode("utf-8", "replace")
    first = first.strip()
    return first.count(",") == 2 or first.rpartition(",")[0].lower().endswith(tuple(SUFFIXES))


def read_names(folder: Path) -> list[str]:
    """The listed names (I) of a metadata folder's images, as they stand and all different."""
    listed, _ = read_list(folder / IDS, (), str)
    index = {name: i for i, name in enumerate(dict.fromkeys(listed))}
    _image_of_line(folder / IDS, listed, index, once=True)
    return listed


def read_lists(folder: Path, names: Sequence[str]) -> Lists:
    """Read those of a metadata folder's further lists that exist.

    Args:
        names: of :func:`read_names`.

    Raises:
        InputError: a list that is malformed or of other images; the message names file and line.
    """
    index = {name: i for i, name in enumerate(names)}
    class_ids: np.ndarray = np.full(len(index), -1, dtype=np.int64)
    sizes = None
    if (folder / LABELS).is_file():
        class_ids = _read_column(folder / LABELS, ("class",), 0, index)[:, 0]
    if (folder / SIZES).is_file():
        sizes = _read_column(folder / SIZES, ("width", "height"), 1, index)
    boxes = masks = None
    if (path := folder / BOXES).is_file():
        if _holds_masks(path):
            masks = _read_mask_list(path, index)
        else:
            listed, rows = read_box_list(path)
            images = _image_of_line(path, listed, index, once=False)
            boxes = BoxTable.from_rows(images, rows, None, len(index))
    return Lists(class_ids, sizes, boxes, masks)


def load_wsoleval(folder: str | Path) -> DataSet:
    """The truth that a metadata folder holds, without the images.

    Args:
        folder: such as ``metadata/ILSVRC/test``; without ``class_labels.txt`` the images have no
            class.

    Returns:
        Images in the order of ``image_ids.txt``; ``image_id`` and ``file_name`` are the listed
        name.

    Raises:
        MissingFileError, InputError: a list is missing, malformed, or of other images.
    """
    folder = Path(folder)
    if not is_wsoleval(folder):
        raise MissingFileError(
            f"{folder}: there is no {IDS}; expected a metadata folder of wsolevaluation ({IDS}, "
            f"{LABELS}, {SIZES}, {BOXES})"
        )
    names = read_names(folder)
    lists = read_lists(folder, names)
    if lists.masks is not None:
        raise InputError(
            f"{folder}: holds masks, not boxes; is it OpenImages' folder? Declare it with its "
            f"images (docs/datasets.md), or score maps on it with --score-maps and --masks FOLDER"
        )
    if lists.sizes is None or lists.boxes is None:
        absent = folder / (SIZES if lists.sizes is None else BOXES)
        raise MissingFileError(f"{absent}: there is no such file; expected a wsolevaluation list")
    files = [folder / file for file in (IDS, LABELS, SIZES, BOXES)]
    return DataSet(
        name="/".join(real_path(folder).parts[-2:]),
        image_ids=names,
        file_names=names,
        keys=[image_key(name) for name in names],
        sizes=lists.sizes,
        class_ids=lists.class_ids,
        truth=lists.boxes,
        pseudo_boxes=BoxTable.empty(len(names)),
        files=tuple(file for file in files if file.is_file()),
    )
