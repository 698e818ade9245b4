"""The number of micro-batches that a step needs to fit into memory: ``WEND.ACCUMULATE 0``.

It is tried before the training begins, with a step as large as any will be. The training's numbers
are those of the batch, however many micro-batches it is taken in (:mod:`wend.training.accumulation`
says what differs), so that a run writes down the number that was chosen, and is resumed with it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.errors import BadImageError, InputError
from wend.loading.bad_images import Images
from wend.loading.selection import Selection
from wend.losses import tell_progress
from wend.processes import alone, largest, world_size
from wend.training.changes import entries_of
from wend.training.checkpoints import newest_whole
from wend.training.held_out import fixed_numbers
from wend.training.memory import fits
from wend.training.restoring import restored
from wend.weight_files import ORIGIN_KEY

ENTRY = "WEND.ACCUMULATE"
STATES = {"SGD": 1, "Adam": 2, "AdamW": 2}  # numbers that an optimizer keeps for each weight
Losses = Callable[[list[Any]], Mapping[str, Tensor]]
logger = logging.getLogger(__name__)


def take_stored_number(cfg: CfgNode) -> None:
    """Give a config that leaves the number open that of the training that goes on in OUTPUT_DIR."""
    choice = newest_whole(cfg.OUTPUT_DIR) if cfg.WEND.ACCUMULATE == 0 else None
    origin = None if choice is None else choice.content.get(ORIGIN_KEY)
    if origin:
        cfg.WEND.ACCUMULATE = entries_of(origin["config"]).get(ENTRY, 1)


def settle_micro_batches(
    cfgs: Sequence[CfgNode],
    model: nn.Module,
    selection: Selection,
    images: Images,
    losses: Losses,
) -> None:
    """Make ``WEND.ACCUMULATE`` the smallest number that fits where it is 0; all processes call it.

    Args:
        cfgs: the run's config and the engine's, frozen, which may be the same.
        model: the detector on its device, not yet wrapped for several processes.
        selection: the training images.
        images: the same as examples.
        losses: the detector's terms on a list of examples.

    Raises:
        InputError: not even a single image fits.
    """
    cfg = cfgs[-1]
    if cfg.WEND.ACCUMULATE:
        return
    share = cfg.SOLVER.IMS_PER_BATCH // world_size()
    device = torch.device(cfg.MODEL.DEVICE)
    example = _with_most_boxes(selection, images)
    for number in (n for n in range(1, share + 1) if share % n == 0):
        trial = partial(_step, cfg, model, losses, [example] * (share // number))
        if not largest([int(not fits(trial, device))], device)[0]:
            break
    else:
        raise InputError(
            f"config entry {ENTRY}: not even a training step of one image fits into the memory of "
            f"{device}; set WEND.PRECISION bfloat16, or choose a smaller detector or WEND.CROP"
        )
    logger.info(
        "%s 0: %d, micro-batches of %d images fit into the memory of %s",
        *(ENTRY, number, share // number, device),
    )
    for each in cfgs:
        each.defrost()
        each.WEND.ACCUMULATE = number
        each.freeze()


def _with_most_boxes(selection: Selection, images: Images) -> Any:
    """The example with the most boxes of those that can be read."""
    for index in np.argsort(-selection.box_counts, kind="stable").tolist():
        try:
            with fixed_numbers(index):
                return images[index]
        except BadImageError as error:
            last = error
    raise last


def _step(cfg: CfgNode, model: nn.Module, losses: Losses, batch: list[Any]) -> None:
    """What a step keeps in memory at most; the detector is as before afterwards."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    copies = STATES[cfg.WEND.OPTIMIZER] + (world_size() > 1)  # where processes meet, buckets
    kept = [torch.empty_like(weight) for weight in weights for _ in range(copies)]
    try:
        with alone(), restored(model), fixed_numbers(0):
            model.train()
            tell_progress(model, 0, cfg.SOLVER.MAX_ITER)
            total = sum(losses(batch).values())
            assert isinstance(total, Tensor)
            total.backward()
    finally:
        kept.clear()
        for weight in weights:
            weight.grad = None
