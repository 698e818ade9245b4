"""The schedule in epochs and the two learning rates, for every engine the same."""

from __future__ import annotations

import math

from fvcore.common.config import CfgNode

from wend.errors import InputError


def resolve_schedule(cfg: CfgNode, num_images: int) -> CfgNode:
    """A copy of the config whose lengths are in iterations.

    With ``WEND.EPOCHS`` > 0 one epoch is ``ceil(num_images / SOLVER.IMS_PER_BATCH)`` iterations,
    and SOLVER.MAX_ITER, TEST.EVAL_PERIOD and SOLVER.CHECKPOINT_PERIOD follow from it (evaluation
    and a checkpoint after each epoch).

    Args:
        cfg: in epochs or iterations.
        num_images: images with a pseudo box that are trained on.

    Raises:
        InputError: the warm-up is not shorter than the training.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if cfg.WEND.EPOCHS > 0:
        epoch = iterations_per_epoch(cfg, num_images)
        cfg.SOLVER.MAX_ITER = cfg.WEND.EPOCHS * epoch
        cfg.TEST.EVAL_PERIOD = epoch
        cfg.SOLVER.CHECKPOINT_PERIOD = epoch
    if cfg.SOLVER.WARMUP_ITERS >= cfg.SOLVER.MAX_ITER:
        raise InputError(
            f"config entry SOLVER.WARMUP_ITERS: expected fewer than the {cfg.SOLVER.MAX_ITER} "
            f"iterations of the training ({num_images} images, batch {cfg.SOLVER.IMS_PER_BATCH}, "
            f"{cfg.WEND.EPOCHS} epochs), got {cfg.SOLVER.WARMUP_ITERS}"
        )
    cfg.freeze()
    return cfg


def iterations_per_epoch(cfg: CfgNode, num_images: int) -> int:
    """Iterations in which every training image is seen about once."""
    return math.ceil(num_images / cfg.SOLVER.IMS_PER_BATCH)


def lr_factor(parameter: str, head_lr_factor: float) -> float:
    """Learning rate of a parameter as a multiple of the base rate (paper: 2 for the head).

    Args:
        parameter: its name in the detector. The backbone's begin with "backbone."; the pyramid's
            (``fpn...``, ``top_block...`` inside it) are new layers and count as head.
        head_lr_factor: the head's multiple.
    """
    parts = parameter.split(".")
    in_pyramid = any(part.startswith(("fpn", "top_block")) for part in parts)
    return 1.0 if parts[0] == "backbone" and not in_pyramid else head_lr_factor
