"""The first epoch of a training: :mod:`wend.loading.first_epoch`, of a run and its detector."""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch import nn

from wend.loading.first_epoch import FirstEpoch
from wend.losses import count_positives
from wend.processes import gather, is_main, world_size
from wend.run import TrainingData, iterations_per_epoch


def count_first_epoch(training: TrainingData, cfg: CfgNode, model: nn.Module) -> FirstEpoch:
    """The count of the first epoch's boxes, of all processes.

    Args:
        training: the images that are trained on.
        cfg: resolved.
        model: the detector, whose losses count their positive samples from here on.
    """
    return FirstEpoch(
        names=training.names,
        left_out=training.left_out,
        num_boxes=training.images.num_boxes,
        steps=iterations_per_epoch(cfg, len(training.images)),
        max_lost=cfg.WEND.DATA.MAX_LOST_SHARE,
        positives=count_positives(model),
        output_dir=cfg.OUTPUT_DIR if is_main() else None,
        gather=gather if world_size() > 1 else None,
    )
