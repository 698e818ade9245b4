"""Galleries: which images are worth a look, and the images with their boxes as tiles of a page.

Shape letters: I = images of the data set, n = images chosen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wend.errors import BadImageError
from wend.evaluation.analysis import HIT
from wend.evaluation.analysis_report import ERROR_MEANINGS, miss_types
from wend.evaluation.metrics import hits
from wend.evaluation.per_image import PerImage
from wend.reports.draw import scaled_image, spread
from wend.reports.likely_boxes import LIKELY, MOST_SHOWN, number_shown
from wend.reports.page import Box, Gallery, Tile
from wend.reports.roles import PSEUDO, TRUTH, Role
from wend.reports.words import score_text
from wend.structures.box_table import BoxTable
from wend.structures.boxes import box_iou, paired_iou
from wend.structures.data_set import DataSet

SIDE = 288  # pixels of a tile's longer side
QUALITY = 80  # of its JPEG
MORE = 97  # images at equal steps, for those that are not there
TRIES = 10  # images of a kind that are looked for, for each that is shown
MOST_BOXES = 50  # of a role on a tile
APART = 0.3  # IoU of two boxes up to which they are at different places
ALIKE = 0.5  # IoU of a box with the pseudo box above which they agree
MOST_DOUBT = 0.5  # of a score, by which another may be less for both to be uncertain


@dataclass(frozen=True, eq=False)
class Choice:
    """Images of a kind.

    Attributes:
        title: the kind.
        meaning: how they were chosen.
        images: (n,) indices, the most telling first; more than are shown, since some may be absent.
        words: index -> why it is here.
    """

    title: str
    meaning: str
    images: np.ndarray
    words: Mapping[int, str] = field(default_factory=dict)


def first_of_each(table: BoxTable) -> tuple[np.ndarray, np.ndarray]:
    """The first box (I, 4) of each image and its score (I,); NaN for images without boxes."""
    boxes, scores = np.full((len(table), 4), np.nan), np.full(len(table), np.nan)
    held, rows = table.with_boxes, table.offsets[table.with_boxes]
    boxes[held] = table.boxes[rows]
    scores[held] = 1.0 if table.scores is None else table.scores[rows]
    return boxes, scores


def spread_evenly(images: np.ndarray, number: int) -> Choice:
    """Images spread evenly over the data set: what is usual, neither best nor worst."""
    picks = spread(images, number)
    between = np.setdiff1d(spread(images, MORE), picks)
    return Choice(
        "Spread evenly",
        "Images at equal steps through the data set: neither the best nor the worst.",
        np.concatenate([picks, between]),
    )


def by_truth(per_image: PerImage) -> Iterator[Choice]:
    """The best images, and the worst misses of each kind of error."""
    types, threshold = miss_types(per_image)
    _, scores = first_of_each(per_image.ranked.take(per_image.images))
    order = np.lexsort((-np.nan_to_num(scores), per_image.top_iou))
    hit = np.flatnonzero(types == HIT)
    frame = f"under {per_image.protocol.name}"
    if len(hit):
        best = order[::-1][types[order[::-1]] == HIT]
        yield Choice(
            f"Best of {len(hit)} hits",
            f"Highest IoU of the best box with the truth, {frame}.",
            per_image.images[best],
        )
    for kind, meaning in ERROR_MEANINGS.items():
        chosen = order[types[order] == kind]
        if len(chosen):
            said = "There is no box" if kind == "none" else f"The best box: {meaning}"
            yield Choice(
                f"Misses, {kind}: {len(chosen)} of {len(types)} images",
                f"{said}; lowest IoU first, {frame} at IoU {threshold:g}.",
                per_image.images[chosen],
            )


def most_uncertain(detections: BoxTable, threshold: float | None) -> Choice | None:
    """Images whose best score lies near the advised threshold, or two boxes of which score alike.

    Two boxes at different places (IoU up to 0.3) are compared by the second's score as a share of
    the first's; a score near the threshold by the share that separates them.
    """
    boxes, scores = first_of_each(detections)
    owner = detections.owner
    marks = np.ones(len(owner)) if detections.scores is None else detections.scores
    apart = (paired_iou(boxes[owner], detections.boxes) <= APART) & (detections.rank > 0)
    rival = np.zeros(len(detections))
    np.maximum.at(rival, owner[apart], marks[apart])
    held = detections.with_boxes
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(rival > 0, 1 - rival / scores, np.inf)
    near = np.abs(scores - threshold) / threshold if threshold else np.full(len(scores), np.inf)
    doubt = np.minimum(gap, near)
    order = held[np.argsort(doubt[held], kind="stable")]
    order = order[doubt[order] < MOST_DOUBT]
    if not len(order):
        return None
    advised = "" if threshold is None else f"near the advised {score_text(threshold)}"
    words = {
        i: advised if near[i] < gap[i] else f"second place scores {score_text(rival[i])}"
        for i in order[: 100 * TRIES].tolist()
    }
    return Choice(
        "Most uncertain",
        f"Two boxes at different places (IoU <= {APART:g}) score nearly alike"
        f"{f', or the best score is {advised}' if advised else ''}.",
        order,
        words,
    )


def disagreement(detections: BoxTable, pseudo: BoxTable) -> Choice | None:
    """Images on which the best box is sure of another place than the pseudo boxes."""
    boxes, scores = first_of_each(detections)
    owner = pseudo.owner
    iou = np.zeros(len(pseudo))
    np.maximum.at(iou, owner, np.nan_to_num(paired_iou(boxes[owner], pseudo.boxes)))
    both = np.flatnonzero((pseudo.counts > 0) & (detections.counts > 0) & (iou <= ALIKE))
    if not len(both):
        return None
    order = both[np.argsort(-(scores * (1 - iou))[both], kind="stable")]
    number = int(((pseudo.counts > 0) & (detections.counts > 0)).sum())
    return Choice(
        f"Disagreement with the pseudo box: {len(both)} of {number} images",
        f"IoU of the best box with every pseudo box is {ALIKE:g} or less; high scores and low IoU "
        f"first. Candidates for relabelling: one of the two is wrong.",
        order,
        {i: f"IoU {iou[i]:.2f} with the pseudo box" for i in order[: 100 * TRIES].tolist()},
    )


@dataclass(frozen=True, eq=False)
class Shown:
    """What is drawn on the images of a data set.

    Attributes:
        data_set: with the truth and the pseudo boxes to draw.
        layers: further boxes, each with its role, best first.
        threshold: scores from which boxes of the layers are drawn; None to draw the best whatever
            its score, and further ones from 0.5 on.
        max_boxes: most boxes of a layer.
        per_image: whose IoU stands below an image; None without truth.
    """

    data_set: DataSet
    layers: Sequence[tuple[Role, BoxTable]] = ()
    threshold: float | None = None
    max_boxes: int = MOST_SHOWN
    per_image: PerImage | None = None

    def tile(self, index: int, word: str = "", lead: Sequence[str] = ()) -> Tile:
        """The tile of an image, which may say that it cannot be shown.

        Args:
            word: why it is here.
            lead: lines above all others, such as whose boxes these are.
        """
        data_set = self.data_set
        key = str(data_set.keys[index])
        record = data_set[index]
        try:
            picture, scale = scaled_image(record, SIDE)
        except BadImageError as error:
            return Tile((1, 1), "", [], [*lead, "not shown", key], str(error))
        boxes = [*self._boxes(TRUTH, data_set.truth[index], scale)]
        boxes += self._boxes(PSEUDO, data_set.pseudo_boxes[index], scale)
        said = self._iou_words(index)
        for role, table in self.layers:
            drawn = table[index], table.scores_of(index)
            boxes += self._scored_boxes(role, *drawn, scale)
            said += self._score_words(*drawn)
        words = [", ".join(said), word, key] if word else [", ".join(said), key]
        counts = [f"{len(data_set.truth[index])} true"] if len(data_set.truth[index]) else []
        counts += [f"{len(data_set.pseudo_boxes[index])} pseudo"] * bool(
            len(data_set.pseudo_boxes[index])
        )
        counts += [
            f"{sum(box.role is role for box in boxes)} {role.title}" for role, _ in self.layers
        ]
        alt = f"{key} with boxes: {', '.join(counts) or 'none'}. {words[0]}"
        return Tile(picture.size, data_uri(picture), boxes, [*lead, *words], alt)

    def _boxes(self, role: Role, boxes: np.ndarray, scale: float, width: float = 3) -> list[Box]:
        return [
            Box((x0, y0, x1, y1), role, width)
            for x0, y0, x1, y1 in (boxes[:MOST_BOXES] * scale).tolist()
        ]

    def _scored_boxes(
        self, role: Role, boxes: np.ndarray, scores: np.ndarray, scale: float
    ) -> list[Box]:
        """The best box thick, the others thin; below the others, so that it is whole."""
        least = LIKELY if self.threshold is None else self.threshold
        shown = boxes[: number_shown(scores, least, self.max_boxes)]
        if self.threshold is not None:  # which holds for the best box, too
            shown = shown[scores[: len(shown)] >= least]
        return self._boxes(role, shown[1:], scale, 1.5) + self._boxes(role, shown[:1], scale)

    def _score_words(self, boxes: np.ndarray, scores: np.ndarray) -> list[str]:
        if not len(boxes):
            return ["no box"]
        if self.threshold is not None and scores[0] < self.threshold:
            least, best = score_text(self.threshold), score_text(scores[0])
            return [f"no box from {least} on (best {best})"]
        return [f"score {score_text(scores[0])}"]

    def _iou_words(self, index: int) -> list[str]:
        if self.per_image is None:
            return []
        row = int(np.searchsorted(self.per_image.images, index))
        scored = row < len(self.per_image) and self.per_image.images[row] == index
        return [f"IoU {self.per_image.top_iou[row]:.2f}"] if scored else ["not scored"]

    def gallery(self, choice: Choice, number: int) -> Gallery | None:
        """A gallery of the first ``number`` images of a choice that are there; None without any.

        Those that cannot be read are shown as words.
        """
        images = self.there(choice.images, number)
        if not len(images):
            return None
        tiles = [self.tile(i, choice.words.get(i, "")) for i in images.tolist()]
        return Gallery(choice.title, choice.meaning, tiles)

    def there(self, images: np.ndarray, number: int) -> np.ndarray:
        """The first ``number`` of some images whose files are there; not all are looked for."""
        some = images[: number * TRIES].tolist()
        files = self.data_set.file_names
        present: list[int] = []
        for i in some:
            if len(present) == number:
                break
            if Path(files[i]).is_file():
                present.append(i)
        return np.array(present, dtype=np.int64)


def data_uri(picture: object) -> str:
    """A picture as a JPEG in a data URI."""
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=QUALITY, optimize=True)  # type: ignore[attr-defined]
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


def detector_choices(
    detections: BoxTable,
    pseudo: BoxTable,
    per_image: PerImage | None,
    threshold: float | None,
    number: int,
) -> Iterator[Choice]:
    """Everything that is worth a look on a test set, in the order of a page.

    Args:
        detections: of the I images.
        pseudo: pseudo boxes of the I images.
        per_image: the detections' scores under the first protocol; None without truth.
        threshold: the advised score; None where there is none.
        number: images of a kind.
    """
    yield spread_evenly(np.arange(len(detections)), number)
    if per_image is not None:
        yield from by_truth(per_image)
    else:
        empty = np.flatnonzero(detections.counts == 0)
        if len(empty):
            yield Choice(f"No box: {len(empty)} images", "The detector found nothing.", empty)
    for choice in (most_uncertain(detections, threshold), disagreement(detections, pseudo)):
        if choice is not None:
            yield choice


def differing(per_images: Sequence[PerImage]) -> np.ndarray:
    """Images (n,) that some runs hit and others miss, then by how far the IoUs are apart."""
    top = np.stack([per_image.top_iou for per_image in per_images])
    right = np.stack([hits(per_image, threshold=_threshold(per_image)) for per_image in per_images])
    split = right.any(0) & ~right.all(0)
    order = np.lexsort((-np.ptp(top, axis=0), ~split))
    return per_images[0].images[order]


def _threshold(per_image: PerImage) -> float:
    thresholds = per_image.protocol.thresholds
    return 0.5 if 0.5 in thresholds else thresholds[0]


def nearest_iou(boxes: np.ndarray, truth: np.ndarray) -> float | None:
    """IoU of the first of some boxes with its nearest true box; None without either."""
    return float(box_iou(boxes[:1], truth).max()) if len(boxes) and len(truth) else None
