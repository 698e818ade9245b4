"""Detectron2's loaders of training, held-out and test images, in WEND's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils.events import get_event_storage

from wend.d2.catalog import MappedImages, dataset_dict
from wend.d2.mapper import WSOLDatasetMapper
from wend.devices import reads_pinned
from wend.errors import InputError
from wend.loading.bad_images import GuardedLoader
from wend.loading.box_counts import BoxCounts
from wend.loading.first_epoch import FirstEpoch
from wend.loading.order import Pass, Repeated, Shuffled
from wend.loading.packed_batch import PackedBatch
from wend.loading.selection import Selection
from wend.run import TestData, TrainingData
from wend.training.held_out import held_out_loader
from wend.training.test_loader import loader_of_test
from wend.training.train_loader import ordered_loader

Mapper = Callable[[dict[str, Any]], Any]


class CountedLoader:
    """A training loader that tells the first epoch of its boxes.

    Args:
        loader: yields lists of a mapper's dicts; :class:`WSOLDatasetMapper`'s say which boxes are
            lost, of others all that there are count as kept.
        first_epoch: is told.
    """

    def __init__(self, loader: Iterable[list[dict[str, Any]]], first_epoch: FirstEpoch) -> None:
        self.loader, self.first_epoch = loader, first_epoch

    @property
    def guard(self) -> GuardedLoader | None:
        """The loader, where it is WEND's own and so knows positions and bad images."""
        return self.loader if isinstance(self.loader, GuardedLoader) else None

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in self.loader:
            counts = [_counts_of(entry) for entry in batch]
            self.first_epoch.add(counts)
            get_event_storage().put_scalar("data/lost_boxes", BoxCounts.total(counts).lost)
            yield batch


def _counts_of(entry: dict[str, Any]) -> BoxCounts:
    number = len(entry.get("instances", ()))
    return entry.get("box_counts") or BoxCounts(1, without_box=int(not number), boxes=number)


def training_images(
    training: TrainingData, cfg: CfgNode, mapper: Mapper | None = None
) -> MappedImages:
    """The images that a config trains on as a mapper makes them, by default WEND's."""
    mapper = mapper or WSOLDatasetMapper(cfg, is_train=True, caches=training.caches)
    return MappedImages(training.images, mapper)


def train_loader(
    training: TrainingData, cfg: CfgNode, mapper: Mapper | None = None
) -> Iterable[list[dict[str, Any]]]:
    """Batches of ``SOLVER.IMS_PER_BATCH`` training images without end, of all processes together.

    Args:
        training: the images.
        mapper: instead of :class:`WSOLDatasetMapper`.
    """
    return ordered_loader(
        training,
        cfg,
        training_images(training, cfg, mapper),
        _pass_over(training.images, cfg),
        lambda in_order: build_detection_train_loader(
            dataset=in_order,
            mapper=None,
            total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
            aspect_ratio_grouping=False,  # crops are square: nothing to group
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            collate_fn=PackedBatch,
            pin_memory=reads_pinned(cfg.MODEL.DEVICE),
            seed=0,  # a generator of its own: nothing is drawn from that of the step
        ),
    )


def held_out_images(
    training: TrainingData | None, cfg: CfgNode, mapper: Mapper | None = None
) -> GuardedLoader | None:
    """Batches of the images that are held out, as in training; None where none are.

    Args:
        training: the training images.
        mapper: instead of :class:`WSOLDatasetMapper`.
    """
    assert training is not None
    mapper = mapper or WSOLDatasetMapper(cfg, is_train=True, caches=training.caches)
    return held_out_loader(training, cfg, lambda images: MappedImages(images, mapper))


def _pass_over(images: Selection, cfg: CfgNode) -> Pass:
    """A pass as Detectron2's sampler ``DATALOADER.SAMPLER_TRAIN`` draws it."""
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if name == "TrainingSampler":
        return Shuffled(len(images))
    if name != "RepeatFactorTrainingSampler":
        raise InputError(
            f"config entry DATALOADER.SAMPLER_TRAIN: expected TrainingSampler or "
            f"RepeatFactorTrainingSampler, got {name!r}; another one needs a build_train_loader of "
            f"your own"
        )
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        [dataset_dict(*image) for image in images],
        cfg.DATALOADER.REPEAT_THRESHOLD,
        sqrt=cfg.DATALOADER.REPEAT_SQRT,
    )
    return Repeated(factors)


def test_loader(test: TestData, cfg: CfgNode) -> Iterable[list[dict[str, Any]]]:
    """Batches of ``WEND.TEST_BATCH`` images of a data set, each image once."""
    mapper = WSOLDatasetMapper(
        cfg, is_train=False, caches=test.caches, black_if_bad=test.count_bad_as_wrong
    )
    images = MappedImages(Selection([test.data_set], with_boxes=False), mapper)
    return loader_of_test(test, cfg, images)
