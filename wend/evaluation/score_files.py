"""The files of an evaluation: ``metrics.json``, ``per_image.parquet`` and the tables.

They hold no time and no absolute path, so that the same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from wend import __version__
from wend.evaluation.detections import write_parquet
from wend.evaluation.fixed_boxes import FixedBoxes
from wend.evaluation.numbers import recall_curve
from wend.evaluation.per_image import NO_HIT, PerImage, box_scores
from wend.evaluation.scoring import ProtocolScores
from wend.evaluation.tables import format_table, score_table
from wend.files import atomic_write, sha256, write_json
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.frame import ORIGINAL
from wend.structures.view import describe_view

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
        "torch": _torch_version(),
        "numpy": np.__version__,
    }


def _torch_version() -> str:
    """``torch.__version__``, with the build ("+cu130") that the package's metadata may lack.

    Importing torch for it would cost seconds and half a gigabyte.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return version("torch")
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    stated = re.search(r"""^__version__ = ['"](.+)['"]""", text, re.MULTILINE)
    return stated[1] if stated else version("torch")


def with_threshold(
    counts: Mapping[str, object], scored: BoxTable, score_threshold: float | None
) -> dict:
    """The counts of a detections file, with how many of its boxes are scored."""
    return {**counts, "score_threshold": score_threshold, "boxes_scored": len(scored.boxes)}


def file_entry(path: str | Path) -> dict:
    """An input file in ``metrics.json``: its name, not where it lies, and its hash."""
    return {"name": Path(path).name, "sha256": sha256(path)}


def truth_entry(data_set: DataSet) -> dict:
    """The ground truth in ``metrics.json``: SHA-256 of its files, and of the truth itself."""
    hashes = {path.name: sha256(path) for path in data_set.files}
    return {"name": data_set.name, "sha256": {**hashes, "records": truth_sha256(data_set)}}


def truth_sha256(data_set: DataSet) -> str:
    """SHA-256 of the truth that a number depends on: ids, sizes, classes and boxes, in order."""
    classes = [None if c < 0 else c for c in data_set.class_ids.tolist()]
    columns = (classes, data_set.truth.counts.tolist())
    heads = [
        [image_id, *size, class_id, number]
        for image_id, size, class_id, number in zip(
            data_set.image_ids, data_set.sizes.tolist(), *columns, strict=True
        )
    ]
    digest = hashlib.sha256(json.dumps(heads, default=str).encode())
    digest.update(np.ascontiguousarray(data_set.truth.boxes, dtype="<f8").tobytes())
    return digest.hexdigest()


def baseline_entry(baseline: FixedBoxes) -> dict:
    """The content-blind boxes in ``metrics.json``."""
    return {"name": baseline.name, "sha256": {"boxes": baseline.sha256}}


def detections_notes(dataset: str, counts: Mapping) -> list[str]:
    """What was scored, where it is a file of detections.

    Args:
        dataset: the ground truth's name.
        counts: as :func:`with_threshold` returns them.
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
    frame = counts["box_frame"]
    if frame != ORIGINAL:
        notes.append(f"boxes are given in the frame {frame}, which protocols of that frame take")
    if "images_without_true_class" in counts:
        notes.append(
            "each box has a class: Top-1 and Top-5 Loc are of class-box pairs, all else is of the "
            f"boxes of the image's own class; {counts['images_without_true_class']} images have "
            f"boxes, but none of their own class (misses)"
        )
    return notes


def evaluation_notes(scored: Sequence[str], fixed: str, view: str = "") -> list[str]:
    """Lines below the tables: what was scored, and what the columns are.

    Args:
        scored: lines on the boxes, such as :func:`detections_notes`.
        fixed: where the fixed boxes come from, or why there are none.
        view: what of the images the detector saw, by the view's name; empty where not known.
    """
    saw = [f"the detector saw {describe_view(view)}"] if view else []
    return [*scored, *saw, f"fixed boxes: K boxes that never look at the image, {fixed}"]


def per_image_columns(scores: Mapping[str, ProtocolScores]) -> dict[str, np.ndarray | list]:
    """A column for each number of an image; ``<protocol>:<metric>`` is what a metric averages.

    Args:
        scores: numbers of the same detections. Images on a protocol's blacklist are empty in its
            columns.

    Returns:
        ``image_id, key, class_id, true_boxes, boxes, best_score``, ``class_rank`` with class
        predictions, and for each protocol ``<protocol>:first_hit`` (0-based rank of the first
        correct box, at the first threshold; empty where none is), ``:top_iou``, ``:best_iou`` and
        each metric that is an average.
    """
    first = next(iter(scores.values()))
    data_set, detections = first.per_image.data_set, first.per_image.ranked
    number = len(data_set)
    best = box_scores(detections)[detections.offsets[detections.with_boxes]]
    columns: dict[str, np.ndarray | list] = {
        "image_id": list(data_set.image_ids),
        "key": list(data_set.keys),
        "class_id": [None if c < 0 else c for c in data_set.class_ids.tolist()],
        "true_boxes": data_set.truth.counts,
        "boxes": detections.counts,
        "best_score": _spread(best, detections.with_boxes, number),
    }
    if first.per_image.class_rank is not None:
        columns["class_rank"] = _spread(first.per_image.class_rank, first.per_image.images, number)
    for name, result in scores.items():
        per_image = result.per_image
        images, rank = per_image.images, per_image.hit_rank[0]
        columns[f"{name}:first_hit"] = _spread(rank[rank != NO_HIT], images[rank != NO_HIT], number)
        columns[f"{name}:top_iou"] = _spread(per_image.top_iou, images, number)
        columns[f"{name}:best_iou"] = _spread(per_image.best_iou, images, number)
        for column in result.cells:
            if column.metric.is_average:
                value = column.metric.values(per_image, column.k)
                value = value.astype(np.uint8) if value.dtype == bool else value
                columns[f"{name}:{column.label}"] = _spread(value, images, number)
    return columns


def _spread(values: np.ndarray, images: np.ndarray, number: int) -> np.ndarray | list:
    """Values of some images as a column of ``number``; None where there is none."""
    if len(images) == number:
        return values
    column: list = [None] * number
    for i, value in zip(images.tolist(), values.tolist(), strict=True):
        column[i] = value
    return column


def recall_rows(scores: Mapping[str, ProtocolScores]) -> list[list[str]]:
    """GT-known Loc of the K best boxes in per cent at K = 1, 2, ..., rows of ``RECALL_COLUMNS``.

    K goes as far as any image has boxes; the fixed boxes' curve, as the largest K asked for.
    """
    rows = []
    for name, result in scores.items():
        fixed: list[float] = []
        if result.fixed is not None:
            fixed = recall_curve(result.fixed, _most_boxes(result.fixed)).tolist()
        length = max(_most_boxes(result.per_image), len(fixed))
        for i, value in enumerate(recall_curve(result.per_image, length).tolist()):
            beside = f"{fixed[i]:.4f}" if i < len(fixed) else "-"
            rows.append([name, str(i + 1), f"{value:.4f}", beside])
    return rows


def _most_boxes(per_image: PerImage) -> int:
    return max(1, min(int(per_image.num_boxes.max()), RECALL_MAX_BOXES))


def write_scores(
    output_dir: str | Path,
    scores: Mapping[str, ProtocolScores],
    *,
    counts: Mapping[str, object] | None = None,
    inputs: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    extra: Mapping[str, object] | None = None,
    view: str = "",
) -> list[Path]:
    """Write all files of an evaluation.

    Args:
        scores: as :func:`wend.evaluation.scoring.score_all` returns them.
        counts: counts of the detections file.
        inputs: names and hashes of the files read.
        notes: lines below the tables.
        extra: more entries of each protocol's object in ``metrics.json``.
        view: what of the images the detector saw, by the view's name; empty where not known.

    Returns:
        The files written.
    """
    folder = Path(output_dir)
    write_parquet(folder / PER_IMAGE_FILE, per_image_columns(scores))
    content = {
        name: {
            **result.to_dict(),
            "dataset": result.per_image.data_set.name,
            **({"view": view} if view else {}),
            "versions": versions(),
            "counts": dict(counts or {}),
            "inputs": dict(inputs or {}),
            **(extra or {}),
        }
        for name, result in scores.items()
    }
    write_json(folder / METRICS_FILE, content, indent=1)
    texts = {name: score_table(scores, notes, kind) for name, kind in TABLE_FILES.items()}
    texts[RECALL_FILE] = format_table(RECALL_COLUMNS, recall_rows(scores), table_format="csv")
    for name, text in texts.items():
        with atomic_write(folder / name) as file:
            file.write(text + "\n")
    return [folder / name for name in (METRICS_FILE, PER_IMAGE_FILE, *texts)]
