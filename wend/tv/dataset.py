"""Records -> batches for torchvision's detectors, with the same mapper as Detectron2's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wend.loading.bad_images import (
    TEST_TO_DO,
    GuardedImages,
    GuardedLoader,
    most_to_skip,
    quarantined,
)
from wend.loading.crop import CropMapper
from wend.loading.fill_cache import open_caches
from wend.loading.selection import Selection, shuffled
from wend.structures.frame import Frame
from wend.structures.records import ImageId


@dataclass(frozen=True, eq=False)
class Example:
    """One image as torchvision's detectors take it.

    Attributes:
        image: (3, crop, crop) float32, RGB, 0..255.
        boxes: (P, 4) float32, xyxy in the crop.
        num_lost: boxes that the crop cut off.
        problem: why the image could not be read and is black; empty where it could.
    """

    image_id: ImageId
    frame: Frame
    image: Tensor
    boxes: Tensor
    num_lost: int
    problem: str = ""


class RecordDataset(Dataset):
    """Images of data sets of the catalog; to train, those with a box to learn from.

    Args:
        names: the data sets.
        mapper: crops.
        train: leave out images without a box.
        leave_out: data set -> places of images to leave out.
    """

    def __init__(
        self,
        names: Sequence[str],
        mapper: CropMapper,
        *,
        train: bool,
        leave_out: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.mapper = mapper
        self.images = Selection(names, with_boxes=train, leave_out=leave_out)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Example:
        record, boxes = self.images[index]
        sample = self.mapper(record.file_name, record.width, record.height, boxes)
        return Example(
            record.image_id,
            sample.frame,
            torch.from_numpy(sample.image).permute(2, 0, 1).float(),
            torch.from_numpy(sample.boxes),
            sample.num_lost,
            sample.problem,
        )


class EndlessSampler(Sampler):
    """Shuffled passes over the data without end, as Detectron2's ``TrainingSampler``."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from shuffled(self.size, generator)


def build_train_loader(cfg: CfgNode, seed: int) -> GuardedLoader:
    """Batches of SOLVER.IMS_PER_BATCH examples, without end."""
    resize, data = cfg.WEND.RESIZE, cfg.WEND.DATA
    caches = open_caches(data.CACHE, cfg.DATASETS.TRAIN, resize)
    mapper = CropMapper(resize, cfg.WEND.CROP, train=True, caches=caches)
    dataset = RecordDataset(cfg.DATASETS.TRAIN, mapper, train=True, leave_out=quarantined(cfg))
    most = most_to_skip(cfg, len(dataset))
    loader = DataLoader(
        GuardedImages(dataset, most, cfg.WEND.IMPORTS),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        sampler=EndlessSampler(len(dataset), seed),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        generator=torch.Generator().manual_seed(seed),
    )
    return GuardedLoader(loader, total=len(dataset), most=most, what=", ".join(cfg.DATASETS.TRAIN))


def build_test_loader(cfg: CfgNode, name: str) -> GuardedLoader:
    """Batches of WEND.TEST_BATCH examples of one data set, each image once."""
    resize, data = cfg.WEND.RESIZE, cfg.WEND.DATA
    mapper = CropMapper(
        resize,
        cfg.WEND.CROP,
        train=False,
        caches=open_caches(data.CACHE, [name], resize),
        black_if_bad=data.ON_BAD_TEST_IMAGE == "wrong",
    )
    dataset = RecordDataset([name], mapper, train=False)
    loader = DataLoader(
        GuardedImages(dataset, imports=cfg.WEND.IMPORTS),
        batch_size=cfg.WEND.TEST_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
    )
    return GuardedLoader(loader, total=len(dataset), what=name, to_do=TEST_TO_DO)
