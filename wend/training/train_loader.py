"""The loader of a training: images in the order of (SEED, position), bad ones told of by all."""

from __future__ import annotations

from collections.abc import Callable

from fvcore.common.config import CfgNode

from wend.loading.bad_images import Batches, GuardedImages, GuardedLoader, Images
from wend.loading.order import InOrder, Pass
from wend.processes import gather, rank, world_size
from wend.randomness import shared_seed
from wend.run import TrainingData


def ordered_loader(
    training: TrainingData,
    cfg: CfgNode,
    images: Images,
    draw: Pass,
    build: Callable[[InOrder], Batches],
) -> GuardedLoader:
    """Batches of a process's share of ``SOLVER.IMS_PER_BATCH`` training images, without end.

    Args:
        images: the training images, mapped.
        draw: the indices of a pass over them.
        build: makes the engine's loader of this process's images in their order.
    """
    in_order = InOrder(
        GuardedImages(images, training.most_bad, cfg.WEND.IMPORTS),
        draw,
        seed=shared_seed(cfg.SEED),
        batch=cfg.SOLVER.IMS_PER_BATCH,
        rank=rank(),
        processes=world_size(),
    )
    return GuardedLoader(
        build(in_order),
        total=len(images),
        most=training.most_bad,
        names=training.names,
        gather=gather if world_size() > 1 else None,
    )
