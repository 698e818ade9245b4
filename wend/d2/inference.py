"""A trained detector of Detectron2's on crops: boxes in original pixels, as in evaluation.

Evaluation calls the model through Detectron2's ``inference_on_dataset``; what goes into it and
comes out of it is :mod:`wend.d2.frames`' in both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from torch import nn

from wend.d2.checkpointer import WENDCheckpointer
from wend.d2.frames import model_input, table_of
from wend.d2.mapper import WSOLDatasetMapper
from wend.d2.run import check_model, read_config
from wend.d2.trainer import Trainer
from wend.loading.crop import Sample
from wend.modeling.arithmetic import settle_precision
from wend.modeling.undrawn import Undrawn
from wend.run import settle_device
from wend.structures.box_table import BoxTable
from wend.training.memory import in_prediction


class TrainedModel:
    """A detector with its weights, in evaluation mode.

    Args:
        cfg: its config.
        model: the detector, as :meth:`wend.d2.trainer.Trainer.build_model` makes it.

    Attributes:
        mapper: makes its crops of images.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module) -> None:
        self.cfg, self.model = cfg, model.eval()
        self.mapper = WSOLDatasetMapper(cfg, is_train=False).crop_mapper

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample]) -> BoxTable:
        """The boxes of the samples, float64, xyxy in original pixels, and their scores."""
        batch = [model_input(sample, self.cfg.INPUT.FORMAT) for sample in samples]
        with in_prediction(self.cfg):
            return table_of(self.model(batch))


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
    check_model(cfg)
    with Undrawn():
        model = Trainer.build_model(cfg)
    checkpointer = WENDCheckpointer(model)
    checkpointer.require_all = True
    checkpointer.load(weights)
    return TrainedModel(cfg, model)
