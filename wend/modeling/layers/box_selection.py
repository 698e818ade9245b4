"""Choosing among predicted boxes of a batch: the best ones, and those that suppression keeps.

Nothing here depends on how many boxes an image has left: every result has the shape of its input,
so that the functions run batched, and can be written to a file that other runtimes execute.

Shape letters: N = images, R = locations, K = candidates of an image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


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
    boxes: Tensor, valid: Tensor, threshold: float, groups: Tensor | None = None
) -> Tensor:
    """Which boxes greedy non-maximum suppression keeps, for all images at once.

    A box is suppressed by a better one that is itself kept and overlaps it by more than the
    threshold. Starting from all boxes, each pass applies the rule to the survivors of the last; the
    greedy choice is what no pass changes, and is reached after as many passes as the longest chain
    of boxes that decide about each other, typically a few.

    Args:
        boxes: (N, K, 4), xyxy, best first.
        valid: (N, K); others are not kept and suppress nothing.
        threshold: IoU in [0, 1].
        groups: (N, K); boxes of different groups do not suppress each other.

    Returns:
        (N, K), true where a box is kept.
    """
    x0, y0, x1, y1 = boxes.unbind(-1)
    areas = (x1 - x0) * (y1 - y0)
    width = torch.minimum(x1[:, :, None], x1[:, None]) - torch.maximum(x0[:, :, None], x0[:, None])
    height = torch.minimum(y1[:, :, None], y1[:, None]) - torch.maximum(y0[:, :, None], y0[:, None])
    shared = width.clamp(min=0) * height.clamp(min=0)
    iou = shared / (areas[:, :, None] + areas[:, None] - shared)
    overlaps = iou > float32_threshold(threshold)
    if groups is not None:
        overlaps = overlaps & (groups[:, :, None] == groups[:, None])
    by_better = overlaps.to(boxes.dtype).tril(-1)  # (N, K, K): row i, column j < i
    if torch.jit.is_tracing():  # which alone would write out the passes of its own input
        return torch.jit.script(_settled)(by_better, valid)
    if _is_exporting():
        return _settled_in_graph(by_better, valid)
    return _settled(by_better, valid)


def _is_exporting() -> bool:
    before_2_7 = torch.compiler.is_compiling  # true while exporting, too
    return getattr(torch.compiler, "is_exporting", before_2_7)()


def _settled(by_better: Tensor, valid: Tensor) -> Tensor:
    """Passes of :func:`not_suppressed` until none changes anything."""
    kept = valid
    changed = True
    while changed:
        before = kept
        suppressors = torch.matmul(by_better, before.to(by_better.dtype).unsqueeze(-1)).squeeze(-1)
        kept = valid & (suppressors < 0.5)
        changed = not torch.equal(kept, before)
    return kept


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
