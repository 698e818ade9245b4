"""The files of an evaluation: ``metrics.json``, ``per_image.parquet`` and the tables.

They hold no time and no absolute path, so that the same input gives the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from wend import __version__
from wend.datasets.ground_truth import file_sha256
from wend.evaluation.detections import write_parquet
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.metrics import NO_HIT, PerImage, recall_curve, values
from wend.evaluation.scoring import Bootstrap, ProtocolScores, to_dict
from wend.evaluation.tables import format_table, score_table
from wend.files import atomic_write, write_json
from wend.structures.records import Detections, ImageRecord

METRICS_FILE = "metrics.json"
PER_IMAGE_FILE = "per_image.parquet"
RECALL_FILE = "recall_curve.csv"
RECALL_COLUMNS = ("protocol", "K", "detections", "fixed boxes")
RECALL_MAX_BOXES = 100  # the curve's last K, or less where no image has as many boxes
TABLE_FILES = {"results.md": "github", "results.csv": "csv", "results.tex": "latex"}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    return {
        "wend": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def with_threshold(
    counts: Mapping[str, object], scored: Sequence[Detections], score_threshold: float | None
) -> dict:
    """Counts of a detections file, and of the boxes of it that are scored."""
    boxes_scored = sum(len(d.boxes) for d in scored)
    return {**counts, "score_threshold": score_threshold, "boxes_scored": boxes_scored}


def file_entry(path: str | Path) -> dict:
    """An input file in ``metrics.json``: its name, not where it lies, and its hash."""
    return {"name": Path(path).name, "sha256": file_sha256(path)}


def baseline_entry(baseline: FixedBoxes) -> dict:
    """The content-blind boxes in ``metrics.json``."""
    return {"name": baseline.name, "sha256": {"boxes": baseline.sha256()}}


def evaluation_notes(dataset: str, counts: Mapping, fixed: str, rounds: int) -> list[str]:
    """Lines below the tables: what was scored, and what the columns are.

    Args:
        dataset: the ground truth's name.
        counts: of :func:`with_threshold`.
        fixed: where the fixed boxes come from, or why there are none.
        rounds: of the bootstrap.
    """
    treated = {"count": "kept", "clip": "clipped"}.get(counts["outside"], counts["outside"])
    threshold = counts["score_threshold"]
    notes = [
        f"{dataset}: {counts['images']} images, {counts['rows']} boxes, of which "
        f"{counts['boxes_scored']} are scored "
        + ("(no score threshold)" if threshold is None else f"(score >= {threshold:g})")
        + f"; {counts['images_without_detections']} images without detection are misses, "
        f"{counts['boxes_outside']} boxes reach out of their image ({treated}), "
        f"{counts['duplicate_rows']} rows are copies"
    ]
    if rounds:
        notes.append(f"low, high: 95 % interval of {rounds} bootstrap resamples of the images")
    return [*notes, f"fixed boxes: K boxes that never look at the image, {fixed}"]


def per_image_columns(
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    scores: Mapping[str, ProtocolScores],
) -> dict[str, object]:
    """A column for each number of an image; ``<protocol>:<metric>`` is what a metric averages.

    Args:
        records: I images.
        detections: theirs, in the same order.
        scores: of them. Images on a protocol's blacklist are empty in its columns.

    Returns:
        ``image_id, key, class_id, true_boxes, boxes, best_score``, ``class_rank`` with class
        predictions, and for each protocol ``<protocol>:first_hit`` (0-based place of the first
        correct box, at the first threshold; empty where none is), ``:top_iou``, ``:best_iou`` and
        each metric.
    """
    any_scores = next(iter(scores.values()), None)
    found: dict[str, object] = {
        "image_id": [r.image_id for r in records],
        "key": [r.key for r in records],
        "class_id": [r.class_id for r in records],
        "true_boxes": np.array([len(r.gt_boxes) for r in records]),
        "boxes": np.array([len(d.boxes) for d in detections]),
        "best_score": [float(d.scores[0]) if len(d.scores) else None for d in detections],
    }
    place = {record.image_id: i for i, record in enumerate(records)}
    for name, of in scores.items():
        per_image = of.per_image
        at = np.array([place[image_id] for image_id in per_image.image_ids])
        if per_image.class_rank is not None and of is any_scores:
            found["class_rank"] = _spread(per_image.class_rank, at, len(records))
        first = per_image.hit_rank[0]
        found[f"{name}:first_hit"] = _spread(first, at, len(records), first == NO_HIT)
        found[f"{name}:top_iou"] = _spread(per_image.top_iou, at, len(records))
        found[f"{name}:best_iou"] = _spread(per_image.best_iou, at, len(records))
        for column in of.cells:
            value = values(per_image, column.metric, column.k)
            if len(of.protocol.thresholds) == 1:
                value = value.astype(np.uint8)
            found[f"{name}:{column.label}"] = _spread(value, at, len(records))
    return found


def _spread(
    of: np.ndarray, at: np.ndarray, number: int, empty: np.ndarray | None = None
) -> np.ndarray | np.ma.MaskedArray | list:
    """Values of some images as a column of all; None where there is none."""
    if empty is None and len(at) == number:
        return of
    column: list = [None] * number
    hidden = np.zeros(len(at), bool) if empty is None else empty
    for i, value, hide in zip(at.tolist(), of.tolist(), hidden.tolist(), strict=True):
        column[i] = None if hide else value
    return column


def recall_rows(scores: Mapping[str, ProtocolScores]) -> list[list[str]]:
    """GT-known Loc of the K best boxes in per cent at K = 1, 2, ..., rows of ``RECALL_COLUMNS``.

    K goes as far as any image has boxes; the fixed boxes' curve, as the largest K asked for.
    """
    rows = []
    for name, of in scores.items():
        fixed = [] if of.fixed is None else recall_curve(of.fixed, _most_boxes(of.fixed)).tolist()
        length = max(_most_boxes(of.per_image), len(fixed))
        for i, value in enumerate(recall_curve(of.per_image, length).tolist()):
            beside = f"{fixed[i]:.4f}" if i < len(fixed) else "-"
            rows.append([name, str(i + 1), f"{value:.4f}", beside])
    return rows


def _most_boxes(per_image: PerImage) -> int:
    return max(1, min(int(per_image.num_boxes.max()), RECALL_MAX_BOXES))


def write_scores(
    output_dir: str | Path,
    records: Sequence[ImageRecord],
    detections: Sequence[Detections],
    scores: Mapping[str, ProtocolScores],
    *,
    dataset: str,
    ks: Sequence[int | None],
    bootstrap: Bootstrap,
    counts: Mapping[str, object] | None = None,
    inputs: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    extra: Mapping[str, object] | None = None,
) -> list[Path]:
    """Write all files of an evaluation.

    Args:
        records, detections: in the same order.
        dataset: the ground truth's name.
        ks: as given to :func:`wend.evaluation.scoring.score_all`.
        counts: of the detections file.
        inputs: names and hashes of the files read.
        notes: lines below the tables.
        extra: more entries of each protocol's object in ``metrics.json``.

    Returns:
        The files written.
    """
    folder = Path(output_dir)
    write_parquet(folder / PER_IMAGE_FILE, per_image_columns(records, detections, scores))
    content = {
        name: {
            **to_dict(of, ks, bootstrap),
            "dataset": dataset,
            "versions": versions(),
            "counts": dict(counts or {}),
            "inputs": dict(inputs or {}),
            **(extra or {}),
        }
        for name, of in scores.items()
    }
    write_json(folder / METRICS_FILE, content, indent=1)
    texts = {name: score_table(scores, notes, kind) for name, kind in TABLE_FILES.items()}
    texts[RECALL_FILE] = format_table(RECALL_COLUMNS, recall_rows(scores), table_format="csv")
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text + "\n")
    return [folder / name for name in (METRICS_FILE, PER_IMAGE_FILE, *texts)]
