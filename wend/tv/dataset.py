"""Records -> batches for torchvision's detectors, with the same mapper as Detectron2's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from wend.boxes import Frame
from wend.data.catalog import get_records, training_boxes
from wend.data.mapper import CropMapper
from wend.records import ImageId


@dataclass(frozen=True, eq=False)
class Example:
    """One image as torchvision's detectors take it.

    Attributes:
        image: (3, crop, crop) float32, RGB, 0..255.
        boxes: (P, 4) float32, xyxy in the crop.
        num_lost: boxes that the crop cut off.
    """

    image_id: ImageId
    frame: Frame
    image: Tensor
    boxes: Tensor
    num_lost: int


class RecordDataset(Dataset):
    """Images of data sets of the catalog; to train, those with a box to learn from.

    Args:
        names: the data sets.
        mapper: crops.
        train: leave out images without a box.
    """

    def __init__(self, names: Sequence[str], mapper: CropMapper, *, train: bool) -> None:
        self.mapper = mapper
        self.items = [
            (record, boxes)
            for name in names
            for record in get_records(name)
            if len(boxes := training_boxes(name, record)) or not train
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Example:
        record, boxes = self.items[index]
        sample = self.mapper(record.file_name, record.width, record.height, boxes)
        return Example(
            record.image_id,
            sample.frame,
            torch.from_numpy(sample.image).permute(2, 0, 1).float(),
            torch.from_numpy(sample.boxes),
            sample.num_lost,
        )


class EndlessSampler(Sampler):
    """Shuffled passes over the data without end, as Detectron2's ``TrainingSampler``."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed)
        while True:
            yield from torch.randperm(self.size, generator=generator).tolist()


def build_train_loader(cfg: CfgNode, seed: int) -> DataLoader:
    """Batches of SOLVER.IMS_PER_BATCH examples, without end."""
    mapper = CropMapper(cfg.WEND.RESIZE, cfg.WEND.CROP, train=True)
    dataset = RecordDataset(cfg.DATASETS.TRAIN, mapper, train=True)
    return DataLoader(
        dataset,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        sampler=EndlessSampler(len(dataset), seed),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
        generator=torch.Generator().manual_seed(seed),
    )


def build_test_loader(cfg: CfgNode, name: str) -> DataLoader:
    """Batches of WEND.TEST_BATCH examples of one data set, each image once."""
    mapper = CropMapper(cfg.WEND.RESIZE, cfg.WEND.CROP, train=False)
    return DataLoader(
        RecordDataset([name], mapper, train=False),
        batch_size=cfg.WEND.TEST_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=list,
    )
