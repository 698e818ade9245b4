"""A page as data, and its one HTML file: words, tables, figures, galleries, all of it inside.

Whoever has something to show makes a :class:`Page` of the parts below; ``page.html`` and
``page.css`` beside this module say how all pages look. The file needs no other and no network;
only a page that asks something has a script, which saves the answers. Everything that is not a
figure of ours is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from wend import __version__
from wend.errors import InputError
from wend.files import atomic_write
from wend.reports.roles import Role

PAGE_FILE = "report.html"
GENERATOR = "wend"
ACROSS = 6  # tiles beside each other in a wide window
_NUMBER = re.compile(r"[-+−]?[\d,.]+( ?%)?|[-–—]|all|[-+−]?[\d.]+(e[-+]?\d+)?( – [-+−]?[\d.]+)?")


@dataclass(frozen=True)
class Words:
    """Paragraphs of text."""

    paragraphs: Sequence[str]
    kind = "words"


@dataclass(frozen=True)
class Table:
    """Rows of text; columns that hold numbers alone stand right.

    Attributes:
        header: names of the columns.
        rows: cells of each row.
        groups: index of a row -> a heading above it, such as the protocol of the rows below.
        caption: what it shows.
        notes: lines below it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    notes: Sequence[str] = ()
    groups: dict[int, str] = field(default_factory=dict)
    kind = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers alone."""
        return [
            bool(self.rows) and all(_NUMBER.fullmatch(row[i]) for row in self.rows)
            for i in range(len(self.header))
        ]

    @property
    def is_wide(self) -> bool:
        """Whether a phone shows its rows as lists."""
        return len(self.header) > 3


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        title: what it shows, in a few words.
        svg: the ``<svg>`` element, trusted.
        alt: what a reader who cannot see it should know.
    """

    title: str
    svg: str
    alt: str


@dataclass(frozen=True)
class Figures:
    """Figures side by side."""

    figures: Sequence[Figure]
    kind = "figures"


@dataclass(frozen=True)
class Box:
    """A box on a tile: ``x0, y0, x1, y1`` in the picture's pixels, its role, its line's width."""

    corners: tuple[float, float, float, float]
    role: Role
    width: float = 3.0

    @property
    def dashes(self) -> str:
        """The line's strokes as SVG has them; empty for an unbroken line."""
        return " ".join(f"{step * self.width:g}" for step in self.role.strokes)

    @property
    def attributes(self) -> str:
        """Place and size as SVG has them."""
        x0, y0, x1, y1 = self.corners
        width, height = max(x1 - x0, 0), max(y1 - y0, 0)
        return f'x="{x0:.1f}" y="{y0:.1f}" width="{width:.1f}" height="{height:.1f}"'


@dataclass(frozen=True)
class Question:
    """What a human is asked about a tile: right, wrong or unsure.

    Attributes:
        box: the number that the answer is saved under.
        answer: what is answered already; empty for nothing.
    """

    box: int
    answer: str = ""


@dataclass(frozen=True)
class Tile:
    """An image with its boxes.

    Attributes:
        size: width and height of the picture in pixels.
        uri: the picture as a data URI; empty where it cannot be shown.
        boxes: drawn in this order.
        lines: the words below it.
        alt: what a reader who cannot see it should know; without ``uri``, why it is not shown.
        question: asked below it; None: nothing is.
    """

    size: tuple[int, int]
    uri: str
    boxes: Sequence[Box]
    lines: Sequence[str]
    alt: str
    question: Question | None = None


@dataclass(frozen=True)
class Gallery:
    """Images of a kind.

    Attributes:
        title: the kind.
        meaning: how they were chosen.
        tiles: in order; of several runs, each image of each run.
        columns: how many belong together in a row; 0 for as many as fit.
        is_large: whether tiles are larger, for a closer look.
    """

    title: str
    meaning: str
    tiles: Sequence[Tile]
    columns: int = 0
    is_large: bool = False
    kind = "gallery"

    @property
    def wide(self) -> int:
        """Columns of a wide window: as many whole rows beside each other as fit."""
        return self.columns * max(1, ACROSS // self.columns) if self.columns else ACROSS


@dataclass(frozen=True)
class Code:
    """Text as it stands in a file."""

    text: str
    kind = "code"


@dataclass(frozen=True)
class Folded:
    """Parts that are shown when they are asked for."""

    title: str
    parts: Sequence[Any]
    kind = "folded"


@dataclass(frozen=True)
class Saving:
    """How many of the page's questions are answered, and the button that saves the answers.

    Attributes:
        format, audit: stand in the saved file, and say what the answers are of.
        file_name: of the saved file.
        boxes: numbers of the boxes to answer.
    """

    format: str
    audit: str
    file_name: str
    boxes: Sequence[int]
    kind = "saving"


@dataclass(frozen=True)
class Section:
    """Parts below a heading."""

    title: str
    parts: Sequence[Any]

    @property
    def has_gallery(self) -> bool:
        """Whether it shows images, to which the legend belongs."""
        return any(isinstance(part, Gallery) for part in self.parts)

    @property
    def has_questions(self) -> bool:
        """Whether it asks something, for which the page needs its script."""
        return any(isinstance(part, Saving) for part in self.parts)

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-") or "section"


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: of the window and at its top.
        asked: a sentence: what was asked.
        came: a sentence: what came out.
        fine: how the numbers in it were made.
        missing: what is not on the page, and why; shown at its top.
        sections: with their parts.
        roles: of the galleries' boxes, with their names in the legend, which stands in the first
            section with galleries.
    """

    title: str
    asked: str
    came: str
    fine: str
    sections: Sequence[Section]
    missing: Sequence[str] = ()
    roles: Sequence[tuple[Role, str]] = ()


@lru_cache(maxsize=1)
def _template() -> Any:
    """The template, with everything escaped that is put in."""
    try:
        import jinja2
    except ImportError:
        raise InputError("a page needs the package jinja2: pip install jinja2") from None
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def render(page: Page) -> str:
    """The page's HTML."""
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    names = [section.anchor for section in page.sections]
    anchors = [f"{name}-{i}" if name in names[:i] else name for i, name in enumerate(names)]
    template = _template()
    template.globals["numbers"] = {role: i for i, (role, _) in enumerate(page.roles, start=1)}
    script, policy = "", ""
    if any(section.has_questions for section in page.sections):
        script = (Path(__file__).parent / "answers.js").read_text(encoding="utf-8")
        # this script alone may run, and it may ask for nothing either
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = f"; script-src 'sha256-{digest}'"
    text = template.render(
        page=page,
        style=style,
        script=script,
        policy=policy,
        anchors=anchors,
        generator=GENERATOR,
        version=__version__,
    )
    return text.encode("utf-8", "replace").decode()  # file names may hold bytes that are no text


def write_page(path: str | Path, page: Page) -> Path:
    """Write the page as one HTML file; returns its path.

    Raises:
        InputError: there is a file of this name that is no page of ours.
    """
    path = Path(path)
    check_replaceable(path)
    text = render(page)
    with atomic_write(path) as file:
        file.write(text)
    return path


def check_replaceable(path: Path) -> None:
    """Raise InputError for a path at which something else than a page of ours lies."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected the name of a page to write")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(2000)
        if head.strip() and f'name="generator" content="{GENERATOR} '.encode() not in head:
            raise InputError(
                f"{path}: is no page of this program, and is not overwritten; move it, or name "
                f"another place by --output"
            )
