"""The picture page of ``wend boxes report``: one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from wend.errors import BadImageError
from wend.files import atomic_write
from wend.reports.draw import draw_record
from wend.reports.roles import OTHER, PSEUDO, TRUTH
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou
from wend.structures.data_set import DataSet

SIDE = 240  # pixels of a picture's longer side
STYLE = (
    "body{font:14px sans-serif;margin:1em}figure{display:inline-block;vertical-align:top;"
    "margin:0 8px 12px 0;width:240px}figcaption{font-size:12px;overflow-wrap:anywhere}"
)


def write_page(
    path: str | Path,
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    samples: Mapping[str, np.ndarray],
) -> list[str]:
    """Write images with their boxes and truth, a section for each kind of sample.

    Args:
        sources: one or two names with their boxes of the data set's images, in original pixels as
            they stand in the files.
        samples: title -> indices of images, as of :func:`.boxes_samples.choose_samples`.

    Returns:
        Why images are not shown, which is also said in their places.
    """
    roles = zip(("truth", *(name for name, _ in sources)), (TRUTH, PSEUDO, OTHER), strict=False)
    legend = " ".join(
        f'<b style="border-bottom:3px solid {role.color};background:#ddd">{html.escape(name[-80:])}'
        "</b>"
        for name, role in roles
    )
    not_shown: list[str] = []
    with atomic_write(path) as file:
        title = html.escape(f"Boxes of {data_set.name}")
        file.write(f'<!DOCTYPE html>\n<meta charset="utf-8"><title>{title}</title>')
        file.write(f"<style>{STYLE}</style>\n<h1>{title}</h1>\n<p>{legend}</p>\n")
        for kind, images in samples.items():
            file.write(f"<h2>{html.escape(kind)}</h2>\n")
            file.writelines(_figures(data_set, sources, images, not_shown))
    return list(dict.fromkeys(not_shown))


def _figures(
    data_set: DataSet,
    sources: Sequence[tuple[str, BoxTable]],
    images: np.ndarray,
    not_shown: list[str],
) -> Iterator[str]:
    (_, first), *others = sources
    shown = data_set.take(images).with_pseudo_boxes(first.take(images))
    other = (others[0][1] if others else BoxTable.empty(len(data_set))).take(images)
    for row, record in enumerate(shown):
        try:
            image = draw_record(record, other[row], other.scores_of(row), side=SIDE, role=OTHER)
        except BadImageError as error:
            not_shown.append(str(error))
            yield f"<figure><figcaption>{html.escape(str(error))}</figcaption></figure>\n"
            continue
        content = io.BytesIO()
        image.save(content, format="JPEG", quality=85)
        data = base64.b64encode(content.getvalue()).decode()
        caption = _caption(record.key, shown, row)
        yield (
            f'<figure><img src="data:image/jpeg;base64,{data}" alt="">'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
        )


def _caption(key: str, shown: DataSet, row: int) -> str:
    """``c/image.jpg, 500 x 375, 2 boxes, IoU 0.71``: of the first box with its nearest truth."""
    boxes, truth = shown.pseudo_boxes[row], shown.truth[row]
    width, height = shown.sizes[row].tolist()
    number = f"{len(boxes)} box{'' if len(boxes) == 1 else 'es'}"
    iou = f", IoU {box_iou(boxes[:1], truth).max():.2f}" if len(truth) and len(boxes) else ""
    return f"{key}, {width} x {height}, {number}{iou}"
