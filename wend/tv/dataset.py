"""Records -> batches for torchvision's detectors, with the same mapper as Detectron2's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from wend.config import crop_arguments
from wend.devices import reads_pinned
from wend.loading.bad_images import GuardedLoader
from wend.loading.box_counts import BoxCounts
from wend.loading.crop import CropMapper, Sample
from wend.loading.image_cache import ImageCache
from wend.loading.order import Shuffled
from wend.loading.packed_batch import PackedBatch
from wend.loading.selection import Selection
from wend.modeling.layers.image_batch import stacked
from wend.processes import world_size
from wend.run import TestData, TrainingData
from wend.structures.frame import Frame
from wend.structures.records import ImageId
from wend.training.held_out import held_out_loader
from wend.training.test_loader import loader_of_test
from wend.training.train_loader import ordered_loader


@dataclass(frozen=True, eq=False)
class Example:
    """One image as torchvision's detectors take it.

    Attributes:
        image: (3, side, side) uint8, RGB.
        boxes: (P, 4) float32, xyxy in the crop.
        scores: (P,) float32 scores of the boxes in [0, 1]; 1 where they have none.
        counts: what became of the boxes to learn from.
        problem: why the image could not be read and is black; empty where it could.
    """

    image_id: ImageId
    frame: Frame
    image: Tensor
    boxes: Tensor
    scores: Tensor
    counts: BoxCounts
    problem: str = ""


def image_tensor(sample: Sample) -> Tensor:
    """A sample's pixels (3, crop, crop) uint8, RGB."""
    return torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))


def images_on(device: str, images: Sequence[Tensor]) -> Tensor:
    """Crops (N, 3, side, side) float32, 0..255, as torchvision's detectors take each; in one copy.

    Args:
        device: the detector's.
        images: N crops (3, side, side) of one size.
    """
    return stacked(images).to(device, non_blocking=True).float()


class CroppedImages(Dataset):
    """Images of data sets as examples.

    Args:
        images: the images, with the boxes to learn from.
        mapper: makes the crops.
    """

    def __init__(self, images: Selection, mapper: CropMapper) -> None:
        self.images, self.mapper = images, mapper

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        record, boxes, scores = self.images[index]
        sample = self.mapper(
            record.file_name, record.width, record.height, boxes, record.exif, scores
        )
        return Example(
            record.image_id,
            sample.frame,
            image_tensor(sample),
            torch.from_numpy(sample.boxes),
            torch.from_numpy(sample.scores),
            sample.counts,
            sample.problem,
        )


def training_images(training: TrainingData, cfg: CfgNode) -> CroppedImages:
    """The images that a config trains on, as examples."""
    mapper = CropMapper(**crop_arguments(cfg), train=True, caches=training.caches)
    return CroppedImages(training.images, mapper)


def build_train_loader(training: TrainingData, cfg: CfgNode) -> GuardedLoader:
    """Batches of SOLVER.IMS_PER_BATCH examples of all processes together, without end."""
    dataset = training_images(training, cfg)
    return ordered_loader(
        training,
        cfg,
        dataset,
        Shuffled(len(dataset)),
        lambda in_order: DataLoader(
            in_order,
            batch_size=cfg.SOLVER.IMS_PER_BATCH // world_size(),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            collate_fn=PackedBatch,
            pin_memory=reads_pinned(cfg.MODEL.DEVICE),
            generator=torch.Generator(),  # nothing is drawn from that of the step
        ),
    )


def build_held_out_loader(training: TrainingData, cfg: CfgNode) -> GuardedLoader | None:
    """Batches of the images that are held out, as in training; None where none are."""
    mapper = CropMapper(**crop_arguments(cfg), train=True, caches=training.caches)
    return held_out_loader(training, cfg, lambda images: CroppedImages(images, mapper))


def crops_to_test(
    cfg: CfgNode, caches: Sequence[ImageCache] = (), black_if_bad: bool = False
) -> CropMapper:
    """The crops that a config tests on; arguments as of :class:`CropMapper`."""
    return CropMapper(**crop_arguments(cfg), train=False, caches=caches, black_if_bad=black_if_bad)


def build_test_loader(test: TestData, cfg: CfgNode) -> GuardedLoader:
    """Batches of WEND.TEST_BATCH examples of one data set, each image once in one process."""
    mapper = crops_to_test(cfg, test.caches, test.count_bad_as_wrong)
    dataset = CroppedImages(Selection([test.data_set], with_boxes=False), mapper)
    return loader_of_test(test, cfg, dataset)
