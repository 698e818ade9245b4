"""The loader of an evaluation: each image of a test set once, shared out to the processes."""

from __future__ import annotations

from fvcore.common.config import CfgNode
from torch.utils.data import DataLoader

from wend.devices import reads_pinned
from wend.loading.bad_images import TEST_TO_DO, GuardedImages, GuardedLoader, Images
from wend.loading.packed_batch import PackedBatch
from wend.loading.shares import own_share
from wend.run import TestData


def loader_of_test(test: TestData, cfg: CfgNode, images: Images) -> GuardedLoader:
    """Batches of ``WEND.TEST_BATCH`` images of a data set, each image once in one process.

    Args:
        images: the images of the data set, as the engine maps them.
    """
    loader = DataLoader(
        GuardedImages(images, imports=cfg.WEND.IMPORTS),
        batch_size=cfg.WEND.TEST_BATCH,
        sampler=own_share(len(images), cfg.WEND.TEST_BATCH),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=PackedBatch,
        pin_memory=reads_pinned(cfg.MODEL.DEVICE),
    )
    return GuardedLoader(loader, total=len(images), names=test.data_set.name, to_do=TEST_TO_DO)
