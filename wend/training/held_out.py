"""The losses on a part of the training images that is never trained on: ``WEND.HELD_OUT``.

They need no true boxes, and tell when a detector begins to learn its images by heart. Batches,
crops and what is drawn inside a detector are the same at each evaluation, on any number of
processes and loader workers; the training is left as it was, to the last bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wend import processes
from wend.devices import reads_pinned
from wend.evaluation.best import HELD_OUT
from wend.loading.bad_images import GuardedImages, GuardedLoader, Images
from wend.loading.packed_batch import PackedBatch
from wend.loading.selection import Selection
from wend.losses import tell_progress
from wend.randomness import sample_numbers
from wend.run import TrainingData
from wend.training.restoring import restored
from wend.user_code import is_raised_by_own

logger = logging.getLogger(__name__)
SEED = 0  # of crops and of what a detector draws; which images are held out follows from the run's
Losses = Callable[[list[Any]], Mapping[str, Tensor]]


class _Fixed(Dataset):
    """Examples whose random numbers follow from their index."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        with sample_numbers(SEED, index):
            return self.images[index]


@contextmanager
def fixed_numbers(index: int) -> Iterator[None]:
    """Draw what follows from an index alone; the generators of the process are as before after."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices), sample_numbers(SEED, index):
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(index)
        yield


def held_out_loader(
    training: TrainingData, cfg: CfgNode, images: Callable[[Selection], Images]
) -> GuardedLoader | None:
    """This process's batches of the held-out images; None where none are held out.

    Batch b has the images b · s and following, s being SOLVER.IMS_PER_BATCH / WEND.ACCUMULATE;
    process r of n takes the batches r, r + n, r + 2n, ...

    Args:
        images: makes examples of images, as in training.
    """
    held_out = training.held_out
    if held_out is None:
        return None
    size = max(cfg.SOLVER.IMS_PER_BATCH // cfg.WEND.ACCUMULATE, 1)
    images_of = list(range(len(held_out)))
    batches = [images_of[start : start + size] for start in range(0, len(held_out), size)]
    most = int(training.most_bad * len(held_out) / len(training.images))
    loader = DataLoader(
        GuardedImages(_Fixed(images(held_out)), most, cfg.WEND.IMPORTS),
        batch_sampler=batches[processes.rank() :: processes.world_size()],
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=PackedBatch,
        pin_memory=reads_pinned(cfg.MODEL.DEVICE),
        generator=torch.Generator(),
    )
    return GuardedLoader(loader, total=len(held_out), most=most, names=training.names)


def held_out_losses(
    model: nn.Module, batches: Iterable[list[Any]], losses: Losses, iteration: int, max_iter: int
) -> dict[str, dict[str, dict[str, float]]]:
    """The mean over the held-out images of each term of the loss, and of the total.

    All processes call it and get the same.

    Args:
        model: the detector that is evaluated; afterwards it is as before.
        batches: of :func:`held_out_loader`.
        losses: the model's terms on a batch, in training mode.
        iteration: iterations that are done.
        max_iter: iterations of the whole training.

    Returns:
        ``{"held_out": {"": {"total_loss": ..., term: ...}}}``, as an evaluation's numbers.
    """
    rank, number = processes.rank(), processes.world_size()
    rows: list[tuple[int, int, dict[str, float]]] = []
    with torch.no_grad(), processes.alone(), untouched(model):
        tell_progress(model, iteration - 1, max_iter)
        for place, batch in enumerate(batches):
            index = rank + place * number
            _forget_normalizers(model)
            with fixed_numbers(index):
                rows.append((index, len(batch), _values(losses, batch)))
    every = sorted((row for of_rank in processes.gather(rows) for row in of_rank), key=_by_index)
    names = dict.fromkeys(name for _, _, values in every for name in values)
    images = sum(number for _, number, _ in every)
    means = {
        name: sum(n * values.get(name, float("nan")) for _, n, values in every) / images
        for name in ("total_loss", *(name for name in names if name != "total_loss"))
    }
    said = "  ".join(f"{name}: {value:.4g}" for name, value in means.items())
    logger.info("%s, %d images: %s", HELD_OUT, images, said)
    return {HELD_OUT: {"": means}}


def _by_index(row: tuple[int, int, dict[str, float]]) -> int:
    return row[0]


def _values(losses: Losses, batch: list[Any]) -> dict[str, float]:
    try:
        values = {name: float(value) for name, value in losses(batch).items()}
    except (AssertionError, FloatingPointError) as error:  # of the libraries, at numbers not finite
        if isinstance(error, AssertionError) and is_raised_by_own(error):
            raise
        return {"total_loss": float("nan")}
    return {"total_loss": sum(values.values()), **values}


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Let a detector compute its training losses, and change nothing of it.

    Inside, it is in training mode but for its backbone and what has no parts of its own: norms use
    their running statistics, dropout passes all. Afterwards it is as :func:`restored` says.
    """
    with restored(model):
        model.train()
        for module in model.modules():
            has_parts = next(module.children(), None) is not None
            if module is not model and (not has_parts or isinstance(module, nn.MultiheadAttention)):
                module.training = False
        backbone = getattr(model, "backbone", None)
        if isinstance(backbone, nn.Module):
            for module in backbone.modules():
                module.training = False
        yield


def _forget_normalizers(model: nn.Module) -> None:
    """Let moving averages of normalizers begin anew: a batch is divided by its own number."""
    for module in model.modules():
        vars(module).pop("loss_normalizer", None)
