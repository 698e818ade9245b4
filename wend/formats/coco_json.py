"""COCO's JSON decoded: the one reader of data sets and results, for truth, boxes and detections.

A row's type says what it may hold (:class:`Image`, :class:`Box` and their subclasses), msgspec
decodes it, and what does not fit is an InputError that names file and entry. A key that
stands twice in a row, or in an object in it, is refused; keys that no type names may hold anything.

Rules of all readers: an id is a whole number of 64 bits with sign or text, one kind for all images
of a file; no two images have the same id or path; ``iscrowd`` is 0, 1, true or false, and 0 where
it is absent or null; a size is stated where width and height are positive numbers (a truth's whole,
as 640 or 640.0), and not where they are absent, null, 0, -1 or text.
Shape letters: I = images of the file, N = boxes of the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import attrgetter
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, to_builtins

from wend.errors import InputError, shown
from wend.files import MAX_NUMBER, parse_json, read_utf8
from wend.structures.coded import CodedColumn, Encoder
from wend.structures.names import tidy_path

BLOCK = 4096  # rows decoded at a time: their objects are gone when the next block comes
BLOCK_BYTES = 1 << 18  # of a list that is read while it is decoded: it stays in the cache
DATA_SET = (
    'a COCO data set {"images": [{"id", "file_name", ...}], "annotations": [...], "categories": '
    "[...]}"
)
RESULTS = 'a list of {"image_id", "category_id", "bbox": [x, y, w, h], "score"}'
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # may hide a key's name
_BETWEEN_ROWS = re.compile(rb"\}\s*,\s*(?=\{)")
_FIELD = re.compile(r"(?:\$\.|required field `)(\w+)")  # in msgspec's messages

WholeNumber = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Id = WholeNumber | str
Number = Annotated[float, Meta(gt=-MAX_NUMBER, lt=MAX_NUMBER)]
Length = Annotated[float, Meta(ge=0, lt=MAX_NUMBER)]
MAX_SIDE = 2**31  # pixels
Name = Annotated[str, Meta(min_length=1)]
Bit = Annotated[int, Meta(ge=0, le=1)]

_ID = "a whole number from -2^63 to 2^63 - 1 (1, not 1.0), or text"
EXPECTED = {
    None: "an object",
    "id": f'"id": {_ID}',
    "file_name": '"file_name": the path of the image as text',
    "coco_url": '"coco_url": the path of the image as text',
    "width": "width and height as numbers",
    "height": "width and height as numbers",
    "class_id": '"class_id": a number from 0',
    "image_id": f'"image_id": {_ID}',
    "category_id": '"category_id": a whole number',
    "bbox": '"bbox": [x, y, w, h], four finite numbers with w, h >= 0 (masks are not read)',
    "score": '"score": a finite number',
    "iscrowd": '"iscrowd": 0, 1, true or false',
}


def is_crowd(value: object, where: str) -> bool:
    """Whether an ``iscrowd`` of COCO's says so, by the rule of all readers.

    Args:
        where: what holds it, for the message.

    Raises:
        InputError: not 0, 1, true, false or null.
    """
    if value is None or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise InputError(f"{where}: expected {EXPECTED['iscrowd']}, got {shown(value)}")


class Row(Struct, kw_only=True, gc=False):
    """A row of any list."""

    @classmethod
    def expected(cls, field: str | None) -> str:
        """The expected value of a field, or of the row itself, for messages."""
        return EXPECTED[field]


class Image(Row, kw_only=True, gc=False):
    """A row of ``images``; LVIS' have a ``coco_url`` instead of a ``file_name``."""

    id: Id
    file_name: Name | UnsetType = UNSET
    coco_url: str | UnsetType | None = UNSET
    width: float | str | UnsetType | None = UNSET
    height: float | str | UnsetType | None = UNSET

    @property
    def path(self) -> str:
        """The path of the image file."""
        return self.file_name or self.coco_url or ""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in pixels; 0, 0 where they are not stated.

        That of a resized copy, which pseudo boxes may be of, need not be whole.
        """
        width, height = self.width, self.height
        if isinstance(width, float) and isinstance(height, float):
            if 0 < width < MAX_SIDE and 0 < height < MAX_SIDE:
                return width, height
        return 0.0, 0.0


class Category(Row, kw_only=True, gc=False):
    """A row of ``categories``; Roboflow's first is often the parent of the others."""

    id: WholeNumber
    name: Any = None
    supercategory: Any = None


class Box(Row, kw_only=True, gc=False):
    """A row of ``annotations``, or of results."""

    image_id: Id
    bbox: tuple[Number, Number, Length, Length]
    category_id: Id | UnsetType | None = UNSET
    score: Number | UnsetType | None = UNSET
    iscrowd: bool | Bit | UnsetType | None = UNSET


_FIRST_VALUE = json.JSONDecoder().raw_decode
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
Kind = TypeVar("Kind", bound=Row)
ImageKind = TypeVar("ImageKind", bound=Image)
BoxKind = TypeVar("BoxKind", bound=Box)


@cache
def _decoder(kind: type[Row]) -> msgspec.json.Decoder:
    return msgspec.json.Decoder(GenericAlias(list, (kind,)))


@cache
def _fields(kind: type[Row]) -> list[tuple[bytes, attrgetter | None]]:
    """Each field's name in quotes, and a getter of its value if it may be absent."""
    return [
        (f'"{field.name}"'.encode(), None if field.required else attrgetter(field.name))
        for field in msgspec.structs.fields(kind)
    ]


@cache
def _texts(kind: type[Row]) -> list[attrgetter]:
    """Getters of the fields that may hold text."""
    return [
        attrgetter(field.name)
        for field in msgspec.structs.fields(kind)
        if any(
            isinstance(each, msgspec.inspect.StrType)
            for each in _alternatives(msgspec.inspect.type_info(field.type))
        )
    ]


@cache
def _undecoded(kind: type[Row]) -> frozenset[str]:
    """The fields whose JSON text is kept."""
    return frozenset(
        field.name
        for field in msgspec.structs.fields(kind)
        if any(
            isinstance(each, msgspec.inspect.RawType)
            for each in _alternatives(msgspec.inspect.type_info(field.type))
        )
    )


def _alternatives(kind: msgspec.inspect.Type) -> Sequence[msgspec.inspect.Type]:
    return kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,)


def _keys_of(value: Any) -> Iterator[str]:
    """The keys of an object and of those in it."""
    if isinstance(value, dict):
        yield from value
        value = value.values()
    elif not isinstance(value, list):
        return
    for each in value:
        yield from _keys_of(each)


def _keys_are_unique(text: bytes, rows: Sequence[Row]) -> bool:
    """Whether no key stands twice in a row, or in an object in it, also of keys that are not read.

    msgspec keeps the last of equal keys without a word. False also for a text that is too odd to
    tell: its rows are then read one by one.
    """
    kind = type(rows[0])
    present = sum(
        len(rows) - ([*map(get, rows)].count(UNSET) if get else 0) for _, get in _fields(kind)
    )
    texts = sum([*map(type, map(get, rows))].count(str) for get in _texts(kind))
    quotes = np.count_nonzero(np.frombuffer(text, np.uint8) == ord('"'))
    if quotes == 2 * (present + texts):
        return True  # no other key, and no key twice: the quickest to count, and the usual case
    keys = text.count(b'":')
    read = {name.decode()[1:-1] for name, _ in _fields(kind)}
    first, _ = _FIRST_VALUE(text.decode(), text.index(b"{"))
    in_first = Counter(_keys_of(first))  # nested ones, too
    if (
        present == len(rows) * len(read & first.keys())
        and keys == len(rows) * in_first.total()
        and all(
            text.count(f'"{key}":'.encode()) == len(rows) * number
            for key, number in in_first.items()
            if key not in read or number > 1
        )
    ):
        return True  # each row has the keys of the first one
    keys += text.count(b'" :')
    objects = _OBJECTS.decode(text)
    if keys == sum(map(len, objects)):
        return True
    nested = [bytes(value) for row in objects for value in row.values() if b'"' in bytes(value)]
    if keys != sum(map(len, objects)) + sum(v.count(b'":') + v.count(b'" :') for v in nested):
        return False
    try:
        for value in nested:
            parse_json(value, "", "")
    except InputError:
        return False
    return True


def _decoded(text: bytes, kind: type[Kind]) -> list[Kind] | None:
    """Typed rows of a list's text; None unless all are of the kind and no key stands twice."""
    try:
        rows = _decoder(kind).decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return rows if not rows or _keys_are_unique(text, rows) else None


def _is_list(path: Path) -> bool:
    """Whether the file's first character opens a list."""
    if not path.is_file():  # whoever reads it says so; opening a pipe would wait for ever
        return False
    try:
        with path.open("rb") as file:
            return file.read(1 << 10).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["
    except OSError:
        return False


def _blocks_of_list(path: Path) -> Iterator[bytes]:
    """The text of a list as lists of some of its rows each, without reading it as a whole.

    It is cut between "}" and "{": where these are no ends of rows but stand in a nested list or in
    text, the cut text is no JSON.
    """
    with path.open("rb") as file:
        text = file.read(BLOCK_BYTES).removeprefix(codecs.BOM_UTF8)
        while more := file.read(BLOCK_BYTES):
            if cut := _last_cut(text):
                yield text[: cut.start() + 1] + b"]"
                text = b"[" + text[cut.end() :]
            text += more
        yield text


def _last_cut(text: bytes) -> re.Match[bytes] | None:
    """The last "}" with a comma and a "{" behind it, up to the latter."""
    end = text.rfind(b"}")
    while end >= 0:
        if cut := _BETWEEN_ROWS.match(text, end):
            return cut
        end = text.rfind(b"}", 0, end)
    return None


def _is_plain(text: bytes) -> bool:
    """Whether a text is UTF-8 that hides no name of a key behind escapes."""
    try:
        text.isascii() or text.decode()
    except UnicodeDecodeError:
        return False
    return not (b"\\" in text and _ESCAPED_LETTER.search(text))


def _column(rows: Sequence[Row], field: str) -> list:
    """A field's values; None where it is absent or null."""
    values = [*map(attrgetter(field), rows)]
    if f'"{field}"'.encode() in _required(type(rows[0])):
        return values
    return [None if value is UNSET else value for value in values]


@cache
def _required(kind: type[Row]) -> frozenset[bytes]:
    return frozenset(name for name, get in _fields(kind) if get is None)


def _numbers(rows: Sequence[Row], field: str) -> np.ndarray:
    """A field's numbers (n,) float64; NaN where it is absent or null."""
    values = [*map(attrgetter(field), rows)]
    if values[0] is UNSET and values.count(UNSET) == len(values):
        return np.full(len(values), np.nan)
    try:
        return np.fromiter(values, np.float64, len(values))
    except TypeError:
        return np.array([np.nan if v is UNSET or v is None else v for v in values], np.float64)


_NO_BOXES = (
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, 4)),
    np.zeros(0),
    np.zeros(0, bool),
)  # of each column of Boxes


@dataclass(frozen=True, eq=False)
class CocoFile:
    """A file whose rows are not decoded yet.

    Attributes:
        path: the file, for messages.
        expected: what it should hold, for messages.
        content: name -> rows of a data set, as JSON text (``msgspec.Raw``), or as Python's values
            if anything in the file is unusual. None for a list of results, which is read while it
            is decoded.
    """

    path: Path
    expected: str
    content: dict[str, Any] | None

    @classmethod
    def open(cls, path: str | Path, expected: str) -> CocoFile:
        """Open a file; a data set is read.

        Raises:
            MissingFileError, InputError: not there, no whole JSON value, neither a list nor an
                object, or one of its lists stands there twice.
        """
        path = Path(path)
        if _is_list(path):
            return cls(path, expected, None)
        content = cls(path, expected, None)._whole()
        if not isinstance(content, dict):
            raise InputError(f"{path}: expected {expected}, got {type(content).__name__}")
        return cls(path, expected, content)

    @property
    def is_list(self) -> bool:
        """Whether it is a list, as results are."""
        return self.content is None

    def _whole(self) -> Any:
        """The content at once: texts of rows, or Python's values if anything is unusual."""
        data = read_utf8(self.path, self.expected)
        try:
            content = msgspec.json.decode(data, type=list[Raw] | dict[str, Raw])
            lists = ("images", "annotations", "categories")
            once = isinstance(content, list) or all(
                data.count(f'"{name}"'.encode()) <= 1 for name in lists
            )
            if once and _is_plain(data):
                return content
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # NaN, or no JSON at all
        return parse_json(data, self.path, self.expected)

    def entry(self, name: str, number: int) -> str:
        """``FILE, entry annotations[3]``, to point at in messages; name "" is the whole list."""
        return f"{self.path}, entry {f'{name}[{number}]' if name else number}"

    def has_list(self, name: str) -> bool:
        """Whether it is a data set that has a list of this name."""
        if self.content is None:
            return False
        rows = self.content.get(name)
        return isinstance(rows, list) or (isinstance(rows, Raw) and memoryview(rows)[:1] == b"[")

    def _rows(self, name: str) -> list:
        """Undecoded rows of a list of a data set, or of results."""
        rows = self._whole() if self.content is None else self.content[name]
        return msgspec.json.decode(rows, type=list[Raw]) if isinstance(rows, Raw) else rows

    def blocks(self, name: str, kind: type[Kind]) -> Iterator[list[Kind]]:
        """Typed rows of a list of a data set, or of all results (name ""), some at a time.

        Raises:
            InputError: a row is not of this kind; the message names file and entry.
        """
        done = 0
        if self.content is None:
            for text in _blocks_of_list(self.path):
                typed = _decoded(text, kind) if _is_plain(text) else None
                if typed is None:  # something in it is unusual: the rest is looked at row by row
                    break
                if typed:
                    yield typed
                done += len(typed)
            else:
                return
        rows = self._rows(name)
        for start in range(done, len(rows), BLOCK):
            yield self._decode(rows[start : start + BLOCK], kind, name, start)

    def _decode(self, rows: list, kind: type[Kind], name: str, start: int) -> list[Kind]:
        if isinstance(rows[0], Raw):
            typed = _decoded(b"[" + b",".join(rows) + b"]", kind)
            if typed is not None:
                return typed
        return [self._exact(row, kind, name, start + i) for i, row in enumerate(rows)]

    def _exact(self, row: Any, kind: type[Kind], name: str, number: int) -> Kind:
        """A typed row, or the error that says what is wrong with it."""
        if isinstance(row, Raw):
            row = parse_json(bytes(row), self.entry(name, number), self.expected)
        texts = _undecoded(kind) & row.keys() if isinstance(row, dict) else ()
        texts_of = {field: Raw(json.dumps(row[field]).encode()) for field in texts}
        try:
            return msgspec.convert({**row, **texts_of} if texts else row, kind)
        except msgspec.ValidationError as error:
            match = _FIELD.search(str(error))
            expected = kind.expected(match and match[1])
        raise self.error(name, number, expected, row)

    def error(self, name: str, number: int, expected: str, value: object) -> InputError:
        """The error for a row, numbered from 0."""
        return InputError(f"{self.entry(name, number)}: expected {expected}, got {shown(value)}")

    def images(self, kind: type[ImageKind]) -> tuple[list[ImageKind], dict[Id, int]]:
        """The images, and id -> index.

        Raises:
            InputError: a row is none, two have the same id or the same path, or some ids are
                numbers and others text.
        """
        images = list(chain.from_iterable(self.blocks("images", kind)))
        index: dict[Id, int] = {}
        row_of: dict[str, int] = {}
        for number, image in enumerate(images):
            path = image.path
            if index.setdefault(image.id, number) != number:
                expected = f"an id that no other image has (images[{index[image.id]}] has it)"
                raise self.error("images", number, expected, image.id)
            if type(image.id) is not type(images[0].id):
                expected = f"ids that are all numbers or all text, as {shown(images[0].id)}"
                raise self.error("images", number, expected, image.id)
            if not path:
                raise self.error("images", number, EXPECTED["file_name"], to_builtins(image))
            if (first := row_of.setdefault(tidy_path(path), number)) != number:
                expected = f"a file_name that no other image has (images[{first}] has it)"
                raise self.error("images", number, expected, path)
        return images, index

    def boxes(
        self,
        name: str,
        kind: type[BoxKind] = Box,  # type: ignore[assignment]
        also: Callable[[list[BoxKind]], None] | None = None,
    ) -> Boxes:
        """Annotations, or all results (name ""), as columns.

        Args:
            also: takes the rows of each block, for the fields that no column holds.

        Raises:
            InputError: a row is none.
        """
        image_ids, category_ids = Encoder(), Encoder()
        parts = [_NO_BOXES]
        for rows in self.blocks(name, kind):
            if also is not None:
                also(rows)
            bbox = chain.from_iterable(map(attrgetter("bbox"), rows))
            parts.append(
                (
                    image_ids.encode(_column(rows, "image_id")),
                    category_ids.encode(_column(rows, "category_id")),
                    np.fromiter(bbox, np.float64, 4 * len(rows)).reshape(-1, 4),
                    _numbers(rows, "score"),
                    _numbers(rows, "iscrowd") == 1,
                )
            )
        columns = [*zip(*parts, strict=True)]
        parts.clear()  # each column is joined and its parts forgotten: boxes are many
        images, categories, xywh, scores, crowd = (
            np.concatenate(columns.pop(0)) for _ in _NO_BOXES
        )
        return Boxes(
            self,
            name,
            CodedColumn(image_ids.values, images),
            CodedColumn(category_ids.values, categories),
            xywh,
            scores,
            crowd,
        )


@dataclass(frozen=True, eq=False)
class Boxes:
    """Annotations or results as columns.

    Attributes:
        file, name: where they come from; see :meth:`CocoFile.boxes`.
        image_ids: N ids.
        category_ids: N, None where none is stated.
        xywh: (N, 4) float64 ``x, y, width, height``, finite, sides >= 0.
        scores: (N,) float64, NaN where none is stated.
        crowd: (N,) bool.
    """

    file: CocoFile
    name: str
    image_ids: CodedColumn
    category_ids: CodedColumn
    xywh: np.ndarray
    scores: np.ndarray
    crowd: np.ndarray

    def owners(self, index: Mapping[Id, int]) -> np.ndarray:
        """Index (N,) of each box's image.

        Raises:
            InputError: a box is of none of the images.
        """
        owners = self.image_ids.look_up(index)
        if len(owners) and owners.min() < 0:
            first = int(np.argmin(owners))
            expected = '"image_id" of one of the images'
            if index and type(self.image_ids[first]) is not type(known := next(iter(index))):
                expected += f", whose ids look like {shown(known)}"
            raise self.file.error(self.name, first, expected, self.image_ids[first])
        return owners
