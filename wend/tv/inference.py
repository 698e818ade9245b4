"""A trained detector of torchvision's on crops: boxes in original pixels, as in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from wend.loading.closer_look import look_closer
from wend.loading.crop import Sample
from wend.modeling.arithmetic import settle_precision
from wend.modeling.feature_cache import views_seen_once
from wend.modeling.undrawn import Undrawn
from wend.run import settle_device
from wend.structures.box_table import BoxTable
from wend.structures.checks import check_predicted
from wend.structures.frame import Frame
from wend.structures.frames import Frames
from wend.training.memory import in_prediction
from wend.tv.checkpointer import TVCheckpointer
from wend.tv.config import read_config
from wend.tv.dataset import crops_to_test, image_tensor, images_on
from wend.tv.models import build_model
from wend.tv.predictions import table_of


@torch.inference_mode()
def predict(
    model: nn.Module, images: Sequence[Tensor], frames: Sequence[Frame], cfg: CfgNode
) -> BoxTable:
    """Predict on a batch of crops.

    Args:
        model: the detector in evaluation mode.
        images: N crops (3, crop, crop), RGB, 0..255.
        frames: the way from each image's original pixels to its crop.
        cfg: says where the model is, and whether it looks closer.

    Returns:
        The boxes of the N images, float64, xyxy in original pixels, and their scores.

    Raises:
        InputError: a box is not finite.
    """
    on_device = images_on(cfg.MODEL.DEVICE, images)
    look = partial(_predict_once, model)
    closer = views_seen_once()(look)
    return look_closer(look, on_device, frames, cfg.WEND.CLOSER_LOOK, closer)


def _predict_once(model: nn.Module, images: Tensor, frames: Sequence[Frame]) -> BoxTable:
    table = table_of(model([*images]))
    owner = table.owner
    check_predicted(table.boxes, owner, "image {} of the batch".format)
    boxes = Frames.of(frames).to_original(table.boxes, owner)
    # torchvision's FCOS has empty ones, and so has padding
    return replace(table, boxes=boxes).keep(np.all(boxes[:, 2:] > boxes[:, :2], axis=1))


class TrainedModel:
    """A detector with its weights, in evaluation mode.

    Args:
        cfg: its config.
        model: the detector.

    Attributes:
        mapper: makes its crops of images.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        self.cfg, self.model = cfg, model.eval()
        self.mapper = crops_to_test(cfg)

    def predict(self, samples: Sequence[Sample]) -> BoxTable:
        """The boxes of the samples, float64, xyxy in original pixels, and their scores."""
        images = [image_tensor(sample) for sample in samples]
        frames = [sample.frame for sample in samples]
        with in_prediction(self.cfg):
            return predict(self.model, images, frames, self.cfg)


def load(config_file: str, opts: Sequence[str], weights: str) -> TrainedModel:
    """Build the detector of a config and load its weights.

    Args:
        config_file: YAML.
        opts: KEY, VALUE, KEY, VALUE, ...
        weights: a checkpoint of this very detector.

    Raises:
        InputError: names what is wrong, or does not fit.
    """
    cfg = read_config(config_file, opts)
    settle_device(cfg)
    settle_precision(cfg)
    with Undrawn():
        model = build_model(cfg)
    checkpointer = TVCheckpointer(model)
    checkpointer.require_all = True
    checkpointer.load(weights)
    return TrainedModel(cfg, model)
