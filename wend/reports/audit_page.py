"""The page of ``wend boxes audit``: boxes to answer right or wrong, and the most suspicious ones.

The sample's images show the box in question and no signal, so that the answers depend on none; the
most suspicious boxes are shown with all that speaks against them. No truth is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wend.audit.answers import FORMAT
from wend.audit.design import Design
from wend.audit.signals import Column, Evidence
from wend.audit.suspicion import FAMILY_WEIGHTS, rank_shares
from wend.errors import BadImageError
from wend.reports.draw import scaled_image
from wend.reports.gallery import data_uri
from wend.reports.likely_boxes import number_shown
from wend.reports.page import (
    Box,
    Figure,
    Figures,
    Gallery,
    Page,
    Question,
    Saving,
    Section,
    Table,
    Tile,
    Words,
)
from wend.reports.roles import BLACK, OTHER, OURS, PSEUDO, TRUTH, WHITE, Role
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

AUDIT_PAGE, ANSWERS_FILE = "audit.html", "answers.json"
SIDE = 384  # pixels of a picture's longer side
MOST_SIGNALS = 4  # named below an image
MOST_OTHERS = 3  # sources with strokes of their own
RULER = Role("ruler: IoU 0.5 with the box, if centred", WHITE, BLACK)
MIRRORED = Role("detector, mirrored image", OURS.color, OURS.edge, (3, 2))
STROKES = (OTHER.strokes, (2.5, 1.5), (1.2, 3))  # of the other sources
HALF = 0.5  # the IoU from which a box is right
LARGER, SMALLER = math.sqrt(1 / HALF), math.sqrt(HALF)  # sides of centred boxes of that IoU
SIDEWAYS = (1 - HALF) / (1 + HALF)  # of a side: a box of equal size, shifted along it
ASLANT = 1 - math.sqrt(2 * HALF / (1 + HALF))  # the same along both sides


@dataclass(frozen=True, eq=False)
class Audited:
    """What the page shows.

    Attributes:
        data_set: the images.
        evidence: the boxes, and all that signals looked at.
        columns: the signals.
        suspicion: (B,).
        design: the sample.
        digest: by which answers know the audit.
        answers: B answers that are there already, "" for none.
    """

    data_set: DataSet
    evidence: Evidence
    columns: Sequence[Column]
    suspicion: np.ndarray
    design: Design
    digest: str
    answers: Sequence[str]


def audit_page(name: str, audited: Audited, number: int, weak: Sequence[str], folder: str) -> Page:
    """The page.

    Args:
        name: of the boxes.
        number: most suspicious boxes that are shown.
        weak: what limits the ranking, a sentence each.
        folder: of the audit, for the command that reads the answers.
    """
    sample = audited.design.sample
    asked = [_asked(audited, box, f"{i} of {len(sample)}") for i, box in enumerate(sample, 1)]
    ranked = np.lexsort((np.arange(len(audited.suspicion)), -audited.suspicion))[:number]
    suspects = [_suspect(audited, box, rank) for rank, box in enumerate(ranked.tolist(), 1)]
    shown = [int(box) for box, tile in zip(sample, asked, strict=True) if tile.question]
    missing = [*weak]
    if len(shown) < len(sample):
        missing.append(
            f"{len(sample) - len(shown)} images of the sample cannot be read; their boxes stay "
            f"without an answer"
        )
    boxes, images = len(audited.suspicion), len(audited.evidence.boxes.with_boxes)
    sections = [
        Section("What is right", [Words(_right()), Figures([_ruler()])]),
        Section(
            "The sample",
            [
                Gallery(
                    f"Is this box right? {len(sample)} boxes drawn by chance",
                    "The thick dotted box is meant. In this order, please; stop where you like, "
                    "but leave out none because it is hard: unsure is for those. Keys: r, w, u.",
                    asked,
                    is_large=True,
                ),
                Saving(FORMAT, audited.digest, ANSWERS_FILE, shown),
            ],
        ),
        Section("Most suspicious", [_most_suspicious(suspects)]),
        Section("How it was made", [_signals(audited), _strata(audited)]),
    ]
    return Page(
        f"Audit of {name}",
        f"Asked: which of {boxes} boxes of {images} images are probably wrong, and how many of "
        f"all are right.",
        f"Answer the boxes of the sample, save {ANSWERS_FILE}, and run: wend boxes audit {folder} "
        f"--answers {ANSWERS_FILE}",
        "The sample is drawn by chance within strata of equal size by suspicion, so that the "
        "answers tell how many of all boxes are right, whatever the suspicion is worth.",
        sections,
        missing,
        _roles(audited),
    )


def _right() -> list[str]:
    return [
        "Right means that the box and the true box of an object (the smallest upright box around "
        "all of it that can be seen) share more than half of the area that they cover together: "
        "IoU > 0.5.",
        "That is less strict than it sounds. A box in the object's middle is right up to "
        f"{LARGER:.2f} times as wide and high, and down to {SMALLER:.2f} times; one of the same "
        f"size may be shifted by a third of its width or height, or by {100 * ASLANT:.0f} % of "
        "both. A box that has the head alone, or twice the width, is wrong. Thin white lines on "
        "each image of the sample are the largest and the smallest centred boxes that would "
        "agree with the one in question: an object that fills the inner and stays within the "
        "outer one makes it right, if it lies in the middle.",
    ]


def _ruler() -> Figure:
    """The true box, dashed, beside the boxes whose IoU with it is 0.5."""
    half = 40.0
    cases = [
        ("largest", (-half * LARGER, -half * LARGER, half * LARGER, half * LARGER)),
        ("smallest", (-half * SMALLER, -half * SMALLER, half * SMALLER, half * SMALLER)),
        ("sideways", _shifted(half, SIDEWAYS, 0)),
        ("both ways", _shifted(half, ASLANT, ASLANT)),
    ]
    parts = ['<rect width="640" height="170" fill="#e4e6ea"/>']
    for number, (word, corners) in enumerate(cases):
        x = 80 + 160 * number
        parts += [
            f'<g transform="translate({x} 72)">',
            _rectangle(TRUTH, (-half, -half, half, half)),
            _rectangle(PSEUDO, corners),
            f'<text y="88" text-anchor="middle" font-size="13">{word}</text></g>',
        ]
    svg = f'<svg viewBox="0 0 640 170" font-family="sans-serif">{"".join(parts)}</svg>'
    return Figure(
        "IoU 0.5: dashed the object's true box, dotted boxes that are just not right any more",
        svg,
        f"A centred box {LARGER:.2f} times as wide and high as the true one; one {SMALLER:.2f} "
        f"times; one shifted by a third of its width; one shifted by {ASLANT:.2f} of both sides.",
    )


def _shifted(half: float, x: float, y: float) -> tuple[float, float, float, float]:
    across, down = 2 * half * x, 2 * half * y
    return across - half, down - half, across + half, down + half


def _rectangle(role: Role, corners: tuple[float, float, float, float]) -> str:
    box = Box(corners, role)
    dashes = f' stroke-dasharray="{box.dashes}"' if box.dashes else ""
    return (
        f'<rect {box.attributes} fill="none" stroke="{role.edge}" stroke-width="5"/>'
        f'<rect {box.attributes} fill="none" stroke="{role.color}" stroke-width="3"{dashes}/>'
    )


def _other_roles(audited: Audited) -> dict[str, Role]:
    """The roles of the other sources, as far as they can be told apart."""
    names = list(audited.evidence.others)[:MOST_OTHERS]
    return {
        name: replace(OTHER, title=name, strokes=strokes)
        for name, strokes in zip(names, STROKES, strict=False)
    }


def _roles(audited: Audited) -> list[tuple[Role, str]]:
    roles = [(PSEUDO, "pseudo boxes, the one in question thick"), (RULER, RULER.title)]
    roles += [(role, name) for name, role in _other_roles(audited).items()]
    if audited.evidence.detector is not None:
        roles.append((OURS, "detector, best box thick"))
    if audited.evidence.mirrored is not None:
        roles.append((MIRRORED, MIRRORED.title))
    return roles


def _asked(audited: Audited, box: int, word: str) -> Tile:
    """The tile of a box of the sample: itself, the ruler and its image's other boxes."""
    image = int(audited.evidence.boxes.images_of(box))
    return _tile(audited, box, image, [], [word, str(audited.data_set.keys[image])], ruler=True)


def _suspect(audited: Audited, box: int, rank: int) -> Tile:
    """The tile of one of the most suspicious boxes, with the boxes of all sources."""
    image = int(audited.evidence.boxes.images_of(box))
    evidence, layers = audited.evidence, list[tuple[Role, BoxTable]]()
    layers += [(role, evidence.others[name]) for name, role in _other_roles(audited).items()]
    if evidence.mirrored is not None:
        layers.append((MIRRORED, evidence.mirrored))
    if evidence.detector is not None:
        layers.append((OURS, evidence.detector))
    shares = {column.name: rank_shares(column.values)[box] for column in audited.columns}
    values = {column.name: column.values[box] for column in audited.columns}
    first = sorted(shares, key=lambda name: -shares[name])
    said = [f"{name} {values[name]:.2f}" for name in first if not math.isnan(values[name])]
    lines = [
        f"{rank}. suspicion {audited.suspicion[box]:.2f}",
        ", ".join(said[:MOST_SIGNALS]),
        str(audited.data_set.keys[image]),
    ]
    return _tile(audited, box, image, layers, lines, ruler=False)


def _tile(
    audited: Audited,
    box: int,
    image: int,
    layers: Sequence[tuple[Role, BoxTable]],
    lines: Sequence[str],
    *,
    ruler: bool,
) -> Tile:
    key = str(audited.data_set.keys[image])
    try:
        picture, scale = scaled_image(audited.data_set[image], SIDE)
    except BadImageError as error:
        return Tile((1, 1), "", [], ["not shown", *lines], str(error))
    drawn = [drawn for role, table in layers for drawn in _layer(role, table, image, scale)]
    table = audited.evidence.boxes
    rows = range(int(table.offsets[image]), int(table.offsets[image + 1]))
    for row in rows:
        if row != box:
            drawn.append(_box(table.boxes[row] * scale, PSEUDO, 1.5))
    corners = table.boxes[box] * scale
    if ruler:
        drawn += [_box(_centred(corners, factor), RULER, 1) for factor in (LARGER, SMALLER)]
    drawn.append(_box(corners, PSEUDO, 4))
    alt = f"{key} with box {box}, one of {len(rows)} pseudo boxes of the image"
    question = Question(box, audited.answers[box])
    return Tile(picture.size, data_uri(picture), drawn, lines, alt, question)


def _layer(role: Role, table: BoxTable, image: int, scale: float) -> list[Box]:
    """The likely boxes of another source or detector on an image: the best one thick."""
    boxes = table[image][: number_shown(table.scores_of(image))] * scale
    thin = [_box(corners, role, 1.5) for corners in boxes[1:]]
    return thin + [_box(corners, role, 3) for corners in boxes[:1]]


def _box(corners: np.ndarray, role: Role, width: float) -> Box:
    x0, y0, x1, y1 = corners.tolist()
    return Box((x0, y0, x1, y1), role, width)


def _centred(corners: np.ndarray, factor: float) -> np.ndarray:
    """The box of the same centre with sides as many times as long."""
    centre, half = (corners[:2] + corners[2:]) / 2, (corners[2:] - corners[:2]) / 2
    return np.concatenate([centre - factor * half, centre + factor * half])


def _most_suspicious(tiles: Sequence[Tile]) -> Gallery:
    return Gallery(
        f"The {len(tiles)} most suspicious boxes",
        "Candidates for correction, most suspicious first, with the boxes of all that was asked. "
        "Answers here count for the list of wrong boxes, but not for the estimate, unless the box "
        "is of the sample, too.",
        tiles,
        is_large=True,
    )


def _signals(audited: Audited) -> Table:
    rows = []
    for column in audited.columns:
        said = f"{np.isfinite(column.values).sum()} of {len(column.values)}"
        weight = f"{FAMILY_WEIGHTS.get(column.family, 1.0):g}"
        rows.append([column.name, column.family, weight, said, column.meaning])
    return Table(
        ["signal", "family", "the family's weight", "boxes", "high"],
        rows,
        "Signals: each box's rank by each; the mean of a family's ranks is its vote, and the "
        "weighted mean of the votes the suspicion.",
    )


def _strata(audited: Audited) -> Table:
    design, rows = audited.design, []
    for number, (size, drawn) in enumerate(zip(design.sizes, design.drawn, strict=True), 1):
        values = audited.suspicion[design.stratum == number - 1]
        ends = f"{values.max():.3f}", f"{values.min():.3f}"
        rows.append([str(number), *ends, str(size), str(drawn), f"{drawn / size:.4f}"])
    return Table(
        ["stratum", "highest suspicion", "lowest", "boxes", "drawn", "inclusion probability"],
        rows,
        f"The sample: boxes drawn by chance within each stratum, in turns (seed {design.seed}).",
    )
