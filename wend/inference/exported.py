"""An exported file as a detector: runs its graph, and makes the choice that is not in it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor

from wend.config import crop_arguments
from wend.devices import choose_device
from wend.errors import InputError
from wend.inference.detector import Detector
from wend.inference.exported_info import KEY, Stated, decoded
from wend.inference.file_formats import FORMATS
from wend.inference.file_formats.types import Run
from wend.loading.closer_look import look_closer
from wend.loading.crop import CropMapper, Sample
from wend.modeling.layers.box_choice import borders, chosen
from wend.structures.box_table import BoxTable
from wend.structures.frame import Frame
from wend.structures.frames import Frames
from wend.yaml_files import parse_yaml


class ExportedModel:
    """What :class:`wend.inference.detector.Detector` runs, of an exported file.

    Args:
        stated: what the file says about itself.
        run: its graph.

    Attributes:
        cfg: the config of the detector that it was exported from.
        mapper: makes its crops of images.
    """

    def __init__(self, stated: Stated, run: Run) -> None:
        self.stated, self.run = stated, run
        self.cfg = CfgNode(parse_yaml(stated.config, "its config", "config entries"))
        self.mapper = CropMapper(**crop_arguments(self.cfg), train=False)

    def predict(self, samples: Sequence[Sample]) -> BoxTable:
        """The boxes of the samples, float64, xyxy in original pixels, and their scores."""
        pixels = np.stack([sample.image for sample in samples]).transpose(0, 3, 1, 2)
        images = torch.from_numpy(np.ascontiguousarray(pixels))
        frames = [sample.frame for sample in samples]
        return look_closer(self._predict_once, images, frames, self.cfg.WEND.CLOSER_LOOK)

    def _predict_once(self, images: Tensor, frames: Sequence[Frame]) -> BoxTable:
        all_boxes, all_scores = self.run(images.numpy())
        if not self.stated.chosen:
            side = self.stated.side
            ends = borders([(side, side)], all_boxes)
            batch = chosen(all_boxes, all_scores, self.stated.choice, borders=ends)
            all_boxes, all_scores = batch.boxes, batch.scores
        real = (all_scores > 0).numpy()  # zeros fill the rest
        scores = all_scores.numpy()[real].astype(np.float64)
        table = BoxTable(np.cumsum([0, *real.sum(1)]), all_boxes.numpy()[real], scores)
        ways, owner = Frames.of(frames), table.owner
        boxes = ways.to_original(table.boxes, owner)
        stays = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        if not self.stated.choice.drop_empty:
            stays |= ~ways.pads[owner]  # its detector has empty boxes, but none that lie in padding
        return replace(table, boxes=boxes).keep(stays)


def load(
    path: Path,
    *,
    device: str | None,
    engine: str,
    config: str | Path | None,
    exif: str | None,
    overrides: Mapping[str, Any],
) -> Detector:
    """The detector of an exported file; see :func:`wend.inference.load.load`.

    Raises:
        InputError: the file is damaged or not `wend export`'s, or something is asked for that was
            decided when it was written.
    """
    for name, wanted in (("engine", engine != "auto"), ("config", config), *overrides.items()):
        if wanted:
            raise InputError(
                f"{path}: {name} was decided when the file was exported; leave it out, or export "
                f"the detector again"
            )
    formats = {file_format.ending: file_format for file_format in FORMATS.values()}
    reader = importlib.import_module(formats[path.suffix.lower()].module)
    if device is not None:
        device = str(choose_device(device, "device"))
    metadata, run = reader.read(path, device)
    if not metadata.get(KEY):
        raise InputError(
            f"{path}: says nothing about its detector; expected a file that `wend export` wrote"
        )
    stated = decoded(metadata[KEY], path)
    try:
        model = ExportedModel(stated, run)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its config is not as `wend export` writes it ({error}); export the detector "
            f"again"
        ) from error
    model.cfg.MODEL.DEVICE = device or "cpu"
    engine = path.suffix.lower().removeprefix(".")
    return Detector(model, exif or stated.exif, exported=path, engine=engine)
