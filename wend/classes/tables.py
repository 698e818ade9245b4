"""Tables of class predictions as other programs write them: CSV, Parquet, and JSON of many shapes.

Every reader gives a :class:`Table`: columns by name, a row for each line or entry. What the columns
mean is :mod:`wend.classes.ranking`'s business.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wend.classes.column_words import is_image_column, is_known_column
from wend.classes.predictions import FORMAT
from wend.errors import InputError, MissingFileError, shown, some
from wend.files import parse_json, read_text, read_utf8

SHAPES = (
    "a CSV or Parquet file with a column of images and columns of classes or scores, or a JSON "
    'such as {"<class folder>/<file>": {"pred_scores": [score of class 0, 1, ...]}}'
)
CSV_SHAPE = "lines 'file,class,class,...' with the best class first, numbered from 0, or a header"
IMAGE_COLUMN = "image"  # of files whose images are keys or the first cells
_ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__|level_\d+")  # pandas' row index
_NUMPY_SCALAR = re.compile(r"np\.\w+\(([^()]*)\)")  # as lists of them are printed
_TOKEN = re.compile(r"""'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s,\[\]()]+)""")


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of N rows.

    Attributes:
        path: the file, for messages.
        columns: name -> N cells: text, numbers, or lists of them; None where there is none.
        places: N words that point to a row: ``line 3``, ``entry 'a.jpg'``.
    """

    path: Path
    columns: dict[str, Sequence[Any]]
    places: Sequence[str]

    def wrong(self, row: int, problem: str) -> InputError:
        """The error of a row."""
        return InputError(f"{self.path}, {self.places[row]}: {problem}")


def read_table(path: Path) -> Table:
    """The file's table.

    Raises:
        MissingFileError, InputError: there is none, it is of another kind, or not whole.
    """
    readers: dict[str, Callable[[Path], Table]] = {
        ".json": _read_json,
        ".jsonl": _read_json,
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".parquet": _read_parquet,
    }
    ending = path.suffix.lower()
    if ending in (".pkl", ".pickle", ".pt", ".pth"):
        raise InputError(
            f"{path}: expected a .json, .csv or .parquet file to import; a pickle may run any code "
            f"when it is read. Write its scores as one of these where you made it"
        )
    if ending not in readers:
        raise InputError(f"{path}: expected a .json, .csv or .parquet file to import")
    if not path.is_file():
        raise MissingFileError(f"{path}: there is no such file; expected {SHAPES}")
    return readers[ending](path)


def cell_values(cell: Any) -> list[Any]:
    """The values of a cell: of a list, also one that was written as text; of others the one.

    Text is as JSON, Python or NumPy write lists: ``[1, 2]``, ``[1 2]``, ``['a' 'b']``.

    Raises:
        ValueError: NumPy left out values in printing.
    """
    if isinstance(cell, list | tuple):
        return list(cell)
    text = cell.strip() if isinstance(cell, str) else ""
    if not (text.startswith(("[", "(")) and text.endswith(("]", ")"))):
        return [cell.strip() if isinstance(cell, str) else cell]
    try:
        values = json.loads(text)
        if isinstance(values, list):
            return values
    except (ValueError, RecursionError):
        pass
    tokens = list(_TOKEN.finditer(_NUMPY_SCALAR.sub(r"\1", text)))
    if any(token[3] == "..." for token in tokens):
        raise ValueError(
            "NumPy printed only some of the values ('...'); set "
            "numpy.set_printoptions(threshold=sys.maxsize) where the file is written"
        )
    return [next(part for part in token.groups() if part is not None) for token in tokens]


def _named(
    path: Path, columns: Sequence[tuple[str, Sequence[Any]]], places: Sequence[str]
) -> Table:
    """A table without pandas' row numbers; a column twice is an error, since no one knows which.

    A row index of texts, which pandas writes without a name, are the images.
    """
    names = [name for name, _ in columns]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: columns that stand there twice: {some(map(shown, twice))}")
    named = {name: cells for name, cells in columns if not _ROW_NUMBERS.fullmatch(name)}
    if not any(map(is_image_column, named)):
        for name, cells in columns:
            if name not in named and not any(re.fullmatch(r"\d*", str(cell)) for cell in cells):
                named = {IMAGE_COLUMN: cells, **named}
                break
    return Table(path, named, places)


def _read_csv(path: Path) -> Table:
    csv.field_size_limit(2**31 - 1)  # a cell may hold all scores of an image
    text = read_text(path, CSV_SHAPE).lstrip("\ufeff")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count) if not path.suffix.lower() == ".tsv" else "\t"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(f"line {reader.line_num}")
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error})") from error
    header = rows[0] if rows and _is_header(rows[0]) else None
    if header:
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise InputError(f"{path}: no image in it; expected {CSV_SHAPE}")
    if header is None:
        for row, line in zip(rows, lines, strict=True):
            if len(row) < 2:
                raise InputError(f"{path}, {line}: expected {CSV_SHAPE}")
        lists = [row[1:] if len(row) > 2 else cell_values(row[1]) for row in rows]
        return Table(path, {IMAGE_COLUMN: [row[0] for row in rows], "class": lists}, lines)
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None:
        raise InputError(
            f"{path}, {lines[wrong]}: expected {len(header)} cells as in the first line"
        )
    columns = list(zip(header, zip(*rows, strict=True), strict=True))
    return _named(path, columns, lines)


def _is_header(row: Sequence[str]) -> bool:
    """Whether a line's cells are the columns' names.

    Some are words that columns are called by, or none after the first is a number or list.
    """
    if not row[0] or any(is_known_column(cell) for cell in row):
        return True
    later = [cell for cell in row[1:] if cell]
    return bool(later) and not any(re.fullmatch(r"[-+.\deE]+|\[.*|\(.*", cell) for cell in later)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(path).read()
        table.validate(full=True)  # a damaged file may hold text that is no UTF-8
        columns = [
            (str(name), column.to_pylist())
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as Parquet ({problem})") from error
    if not table.num_rows:
        raise InputError(f"{path}: no image in it; expected {SHAPES}")
    return _named(path, columns, [f"row {row}" for row in range(1, table.num_rows + 1)])


def _read_json(path: Path) -> Table:
    data = read_utf8(path, SHAPES)
    lines = [line for line in data.splitlines() if line.strip()]
    if len(lines) > 1 and all(line.lstrip()[:1] == b"{" for line in lines):  # one object a line
        content: Any = [parse_json(line, path, SHAPES) for line in lines]
    else:
        content = parse_json(data, path, SHAPES)
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raise InputError(f"{path}: is a file of WEND's already; name it as the class predictions")
    if isinstance(content, dict):
        table = _of_split(path, content) or _of_columns(path, content)
        if table is not None:
            return table
    entries = list(content.items()) if isinstance(content, dict) else None
    if entries is None and isinstance(content, list):
        return _of_records(path, [(f"entry {i}", entry) for i, entry in enumerate(content)])
    if not entries:
        raise InputError(f"{path}: expected {SHAPES}, got no entries")
    records = [
        (f"entry {shown(name)}", {IMAGE_COLUMN: name, **entry} if isinstance(entry, dict) else
         {IMAGE_COLUMN: name, "pred_scores": entry})
        for name, entry in entries
    ]  # fmt: skip
    return _of_records(path, records)


def _of_records(path: Path, records: list[tuple[str, Any]]) -> Table:
    """Objects, one for each row; a field that some lack is None there."""
    if not records:
        raise InputError(f"{path}: expected {SHAPES}, got no entries")
    for place, entry in records:
        if not isinstance(entry, dict):
            raise InputError(f"{path}, {place}: expected an object, got {shown(entry)}")
    names = dict.fromkeys(name for _, entry in records for name in entry)
    columns = [(name, [entry.get(name) for _, entry in records]) for name in names]
    return _named(path, columns, [place for place, _ in records])


def _of_split(path: Path, content: dict[str, Any]) -> Table | None:
    """Pandas' ``orient="split"``: names of columns, and rows of cells; None if it is another."""
    names, rows = content.get("columns"), content.get("data")
    if not isinstance(names, list) or not isinstance(rows, list):
        return None
    for number, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise InputError(
                f"{path}, entry data[{number}]: expected {len(names)} cells, got {shown(row)}"
            )
    if not rows:
        raise InputError(f"{path}: expected {SHAPES}, got no entries")
    columns = list(zip(map(str, names), zip(*rows, strict=True), strict=True))
    return _named(path, columns, [f"entry data[{number}]" for number in range(len(rows))])


def _of_columns(path: Path, content: dict[str, Any]) -> Table | None:
    """Pandas' ``orient="columns"``, and objects of lists; None if it is another."""
    if not any(map(is_image_column, content)):
        return None
    columns = {
        name: list(cells.values()) if isinstance(cells, dict) else cells
        for name, cells in content.items()
    }
    if not all(isinstance(cells, list) for cells in columns.values()):
        return None
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise InputError(f"{path}: expected columns of one length, got {sorted(lengths)}")
    return _named(path, list(columns.items()), [f"entry {row}" for row in range(lengths.pop())])
