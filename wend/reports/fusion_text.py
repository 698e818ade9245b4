"""What ``wend boxes fuse`` prints: sources and fused boxes, and their accuracy by agreement.

Shape letters: S = sources, I = images.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.evaluation.roc import area_under_roc, groups_of_equal_size
from wend.evaluation.tables import format_table
from wend.pseudo_boxes.fusion import FusedBoxes
from wend.reports.boxes_numbers import truth_scores
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet

FUSED = "fused"


def fusion_text(
    data_set: DataSet,
    names: Sequence[str],
    tables: Sequence[BoxTable],
    fused: FusedBoxes,
    protocol: str,
) -> str:
    """The tables.

    Args:
        data_set: the I images, perhaps with their truth.
        names, tables: of the S sources, in the data set's pixels.
        protocol: name of the protocol of GT-known Loc.
    """
    parts = [_of_sources(data_set, names, tables, fused, protocol)]
    if data_set.truth.counts.any():
        parts.append(_by_agreement(data_set, fused.table, protocol))
    else:
        parts.append("GT-known Loc by agreement: no true box is known")
    return "\n\n".join(parts)


def _of_sources(
    data_set: DataSet,
    names: Sequence[str],
    tables: Sequence[BoxTable],
    fused: FusedBoxes,
    protocol: str,
) -> str:
    known = len(data_set.truth.boxes) > 0
    header = ["boxes", "images", "number", "mean agreement"]
    header += ["GT-known Loc (%)", "any box (%)", "mean IoU"] if known else []
    agreement = fused.table.scores
    assert agreement is not None
    means = [*fused.of_sources.tolist(), float(agreement.mean()) if len(agreement) else 0.0]
    rows = []
    for name, table, mean in zip([*names, FUSED], [*tables, fused.table], means, strict=True):
        row = [name, str(len(table.with_boxes)), str(len(table.boxes)), f"{mean:.3f}"]
        if known:
            numbers = truth_scores(table, data_set, [protocol])[0][protocol]
            row += [
                f"{numbers['gt_known_loc']:.2f}",
                f"{numbers['gt_known_loc_any_box']:.2f}",
                f"{numbers['mean_iou']:.3f}",
            ]
        rows.append(row)
    return format_table(header, rows, _notes(data_set, tables, fused))


def _notes(data_set: DataSet, tables: Sequence[BoxTable], fused: FusedBoxes) -> list[str]:
    held = np.sum([table.counts > 0 for table in tables], 0)
    nothing = int((fused.agreement == 0).sum())
    notes = [
        "agreement of a source: mean IoU of its box with each other source's, over the fused boxes",
        f"of {len(data_set)} images {int((held == len(tables)).sum())} have boxes of all sources, "
        f"{int(((held > 0) & (held < len(tables))).sum())} of some, {int((held == 0).sum())} of "
        f"none; {nothing} have boxes without any agreement",
    ]
    if fused.left_out:
        notes.append(f"{fused.left_out} fused boxes beyond the most per image are left out")
    return notes


def _by_agreement(data_set: DataSet, table: BoxTable, protocol: str) -> str:
    """GT-known Loc of the first box by tenths of its agreement, and how well that tells them."""
    known = data_set.truth.with_boxes
    data_set, table = data_set.take(known), table.take(known)
    assert table.scores is not None
    per_image = score(data_set, table, get_protocol(protocol))
    boxed = per_image.num_boxes > 0
    images = per_image.images[boxed]
    if not len(images):
        return "GT-known Loc by agreement: no image whose truth is known has a box"
    agreement = table.scores[table.offsets[images]]
    right, iou = (per_image.hit_rank == 0).mean(0)[boxed], per_image.top_iou[boxed]
    group = groups_of_equal_size(agreement)
    rows = []
    for each in np.unique(group).tolist():
        of_it = group == each
        low, high = agreement[of_it].min(), agreement[of_it].max()
        rows.append(
            [
                f"{low:.3f} to {high:.3f}",
                str(int(of_it.sum())),
                f"{100 * right[of_it].mean():.2f}",
                f"{iou[of_it].mean():.3f}",
            ]
        )
    area = area_under_roc(agreement, right == 1)
    tells = (
        "all first boxes are right, or all are wrong: nothing to tell apart"
        if area is None
        else f"area under the ROC curve of the agreement as a sign of a right first box: {area:.3f}"
    )
    without = int((~boxed).sum())
    header = ["agreement of the first box", "images", "GT-known Loc (%)", "mean IoU"]
    notes = [tells, *([f"{without} images without a box are in no row"] if without else [])]
    return format_table(header, rows, notes)
