"""Choosing among predicted boxes of a batch: the best ones, and those that suppression keeps.

Nothing here depends on how many boxes an image has left: every result has the shape of its input,
so that the functions run batched, and can be written to a file that other runtimes execute.

Shape letters: N = images, R = locations (of suppression: boxes of a block), K = candidates of an
image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Suppression decides so many boxes of an image at once, compares so many pairs, and makes so many
# passes before it looks: on a CPU what its cache holds, on a GPU what keeps it busy
ON_CPU, ON_GPU = (32, 2**18, 1), (1024, 2**26, 12)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (N, R, ...) at index (N, K) -> (N, K, ...)."""
    index = index.reshape(*index.shape, *(1,) * (rows.dim() - 2))
    return rows.gather(1, index.expand(-1, -1, *rows.shape[2:]))


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` best of scores (N, R), or all that there are, best first, and their index."""
    return scores.topk(min(count, scores.shape[1]), dim=1)


def best_first(scores: Tensor, *rows: Tensor) -> list[Tensor]:
    """Scores (N, K) and rows (N, K, ...) in the order of the scores; equal ones keep theirs."""
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return [scores, *(take(row, order) for row in rows)]


def clip_to(boxes: Tensor, height: int, width: int) -> Tensor:
    """Boxes (..., 4), xyxy in pixels, with every coordinate moved into the image."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    xs = (x.clamp(min=0, max=width) for x in (x0, x1))
    ys = (y.clamp(min=0, max=height) for y in (y0, y1))
    left, right, top, bottom = *xs, *ys
    return torch.stack([left, top, right, bottom], -1)


def sides_longer_than(boxes: Tensor, side: float) -> Tensor:
    """Whether both sides of boxes (..., 4) are longer than so many pixels."""
    return (boxes[..., 2:] - boxes[..., :2] > side).all(-1)


def float32_threshold(threshold: float) -> float:
    """The largest float32 that is at most ``threshold``.

    Of float32 values the same ones exceed it, so that a comparison in single precision decides as
    one in double precision, which the libraries' own suppression makes, does.
    """
    rounded = np.float32(threshold)
    above = float(rounded) > threshold
    return float(np.nextafter(rounded, np.float32(-np.inf)) if above else rounded)


def not_suppressed(
    boxes: Tensor,
    valid: Tensor,
    threshold: float,
    groups: Tensor | None = None,
    *,
    most: int | None = None,
) -> Tensor:
    """Which boxes greedy non-maximum suppression keeps, for all images at once.

    A box is suppressed by a better one that is itself kept and overlaps it by more than the
    threshold. Blocks of boxes are decided in turn, the best first: what the blocks before keep
    suppresses boxes of a block, and among those that are left each pass applies the rule to the
    survivors of the last; the greedy choice is what no pass changes, and is reached after as many
    passes as the longest chain of boxes that decide about each other, typically a few.

    Args:
        boxes: (N, K, 4), xyxy, best first.
        valid: (N, K); others are not kept and suppress nothing.
        threshold: IoU in [0, 1].
        groups: (N, K); boxes of different groups do not suppress each other.
        most: how many of an image are asked for, the best: kept ones after them may be left out.

    Returns:
        (N, K), true where a box is kept.
    """
    if _is_exporting():
        by_better = _overlapping(boxes, boxes, threshold, groups, groups).to(boxes.dtype).tril(-1)
        if torch.jit.is_tracing():  # which alone would write out the passes of its own input
            return torch.jit.script(_settled)(by_better, valid)
        return _settled_in_graph(by_better, valid)
    images, count = valid.shape
    rows, pairs, passes = ON_CPU if boxes.device.type == "cpu" else ON_GPU
    kept = torch.zeros_like(valid)
    for start in range(0, count, rows):
        if start and not _lacks(kept, valid[:, start:], count if most is None else most):
            break
        end = min(start + rows, count)
        at_once = max(pairs // ((end - start) * end), 1)
        parts = [
            _block(
                boxes[part, :end],
                valid[part, start:end],
                kept[part, :start],
                threshold,
                None if groups is None else groups[part, :end],
                passes,
            )
            for part in (slice(first, first + at_once) for first in range(0, images, at_once))
        ]
        if parts:
            kept[:, start:end] = parts[0] if len(parts) == 1 else torch.cat(parts)
    return kept


def _lacks(kept: Tensor, left: Tensor, most: int) -> bool:
    """Whether an image with candidates left has fewer kept ones than are asked for. Waits."""
    return bool(((kept.sum(1) < most) & left.any(1)).any())


def _block(
    boxes: Tensor,
    valid: Tensor,
    kept: Tensor,
    threshold: float,
    groups: Tensor | None,
    passes: int,
) -> Tensor:
    """Which of the last boxes suppression keeps.

    Args:
        boxes, groups: (N, K, 4) and (N, K) up to the last of the block.
        valid: (N, R), the candidates of the block.
        kept: (N, K - R), which of those before are kept.
        passes: see :func:`_settled`.
    """
    start = kept.shape[1]
    own = None if groups is None else groups[:, start:]
    by_better = _overlapping(boxes[:, start:], boxes, threshold, own, groups).to(boxes.dtype)
    if start:
        valid = valid & ~_any_of(by_better[..., :start], kept)
    return _settled(by_better[..., start:].tril(-1), valid, passes)


def _overlapping(
    boxes: Tensor,
    others: Tensor,
    threshold: float,
    groups: Tensor | None,
    other_groups: Tensor | None,
) -> Tensor:
    """Whether boxes (N, R, 4) overlap others (N, K, 4) by more than the threshold: (N, R, K)."""
    left, top, right, bottom = (side[:, :, None] for side in boxes.unbind(-1))
    x0, y0, x1, y1 = (side[:, None].contiguous() for side in others.unbind(-1))
    areas, other_areas = (right - left) * (bottom - top), (x1 - x0) * (y1 - y0)
    # in place: most of the time on a CPU is that of getting memory
    shared = torch.minimum(right, x1).sub_(torch.maximum(left, x0)).clamp_(min=0)
    shared.mul_(torch.minimum(bottom, y1).sub_(torch.maximum(top, y0)).clamp_(min=0))
    iou = shared.div_((areas + other_areas).sub_(shared))
    overlaps = iou > float32_threshold(threshold)
    if groups is not None and other_groups is not None:
        overlaps = overlaps & (groups[:, :, None] == other_groups[:, None])
    return overlaps


def _any_of(suppresses: Tensor, kept: Tensor) -> Tensor:
    """Which rows (N, R) of a matrix (N, R, K) of 0 and 1 have a 1 where ``kept`` (N, K)."""
    return torch.matmul(suppresses, kept.to(suppresses.dtype).unsqueeze(-1)).squeeze(-1) > 0.5


def _is_exporting() -> bool:
    before_2_7 = torch.compiler.is_compiling  # true while exporting, too
    return torch.jit.is_tracing() or getattr(torch.compiler, "is_exporting", before_2_7)()


def _settled(by_better: Tensor, valid: Tensor, passes: int = 1) -> Tensor:
    """Passes of :func:`not_suppressed` until the last of so many changes nothing; waits for it."""
    valid_ = valid.to(by_better.dtype).unsqueeze(-1)
    kept = valid_
    changed = True
    while changed:
        before = kept
        for _ in range(passes):
            before = kept
            kept = valid_ * (torch.bmm(by_better, kept) < 0.5)
        changed = not torch.equal(kept, before)
    return kept.squeeze(-1) > 0.5


def _settled_in_graph(by_better: Tensor, valid: Tensor) -> Tensor:
    """:func:`_settled` as the loop that ``torch.export`` and ONNX know."""
    from torch._higher_order_ops.while_loop import while_loop

    def another(kept: Tensor, changed: Tensor) -> Tensor:
        return changed.clone()

    def body(kept: Tensor, changed: Tensor) -> tuple[Tensor, Tensor]:
        suppressors = torch.matmul(by_better, kept.to(by_better.dtype).unsqueeze(-1)).squeeze(-1)
        after = valid & (suppressors < 0.5)
        return after, (after != kept).any()

    start = (valid.clone(), torch.ones((), dtype=torch.bool, device=valid.device))
    return while_loop(another, body, start)[0]


def packed(kept: Tensor, count: int, *rows: Tensor) -> list[Tensor]:
    """The rows that are kept, in their order, at the front; then zeros.

    Args:
        kept: (N, K).
        count: how many rows per image the result has; kept ones beyond it are left out.
        rows: tensors (N, K, ...).

    Returns:
        For each of ``rows`` a tensor (N, count, ...).
    """
    target = torch.where(kept, kept.long().cumsum(1) - 1, count).clamp(max=count)
    results = []
    for row in rows:
        index = target.reshape(*target.shape, *(1,) * (row.dim() - 2)).expand(row.shape)
        space = row.new_zeros(row.shape[0], count + 1, *row.shape[2:])
        results.append(space.scatter(1, index, row)[:, :count])
    return results
