"""CCAM's head over a data set: trained on the images at hand, then their boxes.

The main process trains; others of a launcher wait for it, and a shard other than the first ends
until the first has trained. What is learnt stands in a file beside the parts after each epoch, so
that an interrupted training goes on after the last whole one.

The authors' code chooses the threshold that is best on the test set's true boxes, after each epoch,
and the side that is foreground by one number of one batch. Here neither sees any truth: foreground
is what the maps' borders are less, and the threshold is Otsu's of the activations of all images.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from wend.errors import InputError
from wend.files import atomic_write
from wend.localize import image_run
from wend.localize.boxes import Corners, Refine, boxes_of_map
from wend.localize.contrast import ContrastHead, border_excess, contrast_loss, otsu
from wend.localize.cost import Cost, Stopwatch, cost_row
from wend.localize.found import SUMS, SUMS_STEP, Boxes
from wend.localize.method_options import contrast
from wend.localize.network_pass import NetworkPass
from wend.parts import Parts

HEAD_FILE = "head.pt"
POOL_BATCHES = 16  # whose images are shuffled together, and in memory
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContrastOptions:
    """The options of a run.

    Attributes:
        parameters: as of :func:`wend.localize.method_options.contrast`.
        batch_size: images at a time, in training too.
        number: boxes per image at most, at least 1.
    """

    parameters: dict[str, Any] = field(default_factory=contrast)
    batch_size: int = 32
    number: int = 1


@dataclass(frozen=True)
class Learnt:
    """A trained head, which side of it is foreground, and from which activation on.

    Attributes:
        head: in evaluation mode.
        turned: whether foreground is where the head's activation is low.
        threshold: of the foreground's activation, 0 to 1.
    """

    head: ContrastHead
    turned: bool
    threshold: float

    @torch.inference_mode()
    def activations(self, maps: Tensor) -> np.ndarray:
        """The foreground's activations (N, h, w) float32 of descriptors (N, C, h, w)."""
        values = self.head(maps.to(self.head.convolution.weight.device))[:, 0].cpu().numpy()
        return 1 - values if self.turned else values


class _Training:
    """The training of a head, which goes on where its file says."""

    def __init__(self, network: NetworkPass, parts: Parts, options: ContrastOptions) -> None:
        self.network, self.options = network, options
        self.file = parts.folder / SUMS / HEAD_FILE
        self.settings = json.dumps(parts.settings, sort_keys=True)
        self.number = len(network.data_set)
        self.batches = image_run.batches_of(self.number, options.batch_size)
        self.epoch, self.cost = 0, Cost()
        channels, height, width = network.shape_of_maps
        if height * width < 2:
            raise InputError(
                f"--method contrast: the network's maps have {height}x{width} cells, which "
                f"nothing can be told apart in; try a larger --input-size or an earlier --layer"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.parameters["seed"])
            self.head = ContrastHead(channels)
        self.head.to(network.device)
        rate = options.parameters["rate"]
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=rate)

    def resume(self) -> dict[str, Any] | None:
        """Take up what the file holds; returns the end of the training, if it is there."""
        if not self.file.exists():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
            if state["settings"] != self.settings:  # no part was there to tell
                logger.warning("%s: is of other settings; training anew", self.file)
                return None
            self.head.load_state_dict(state["head"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch, self.cost = state["epoch"], Cost(**state["cost"])
            return state["end"]
        except Exception as error:  # torch has no common error for a damaged file
            raise InputError(
                f"{self.file}: is no head as it was written ({type(error).__name__}); remove it, "
                f"and the same command trains anew"
            ) from error

    def save(self, end: dict[str, Any] | None = None) -> None:
        state = {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "cost": vars(self.cost),
            "end": end,
            "settings": self.settings,
        }
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.file, "wb") as file:
            torch.save(state, file)

    def run(self) -> dict[str, Any]:
        """Train to the end; returns the side and the threshold."""
        epochs = self.options.parameters["epochs"]
        watch = Stopwatch()
        total, done = epochs * self.number, self.epoch * self.number
        with tqdm(
            total=total, initial=done, desc="contrast, training", unit="image", disable=None
        ) as bar:
            while self.epoch < epochs:
                loss = self._epoch(watch, bar)
                self.epoch += 1
                logger.info("contrast: epoch %d of %d, loss %.4f", self.epoch, epochs, loss)
                self.save()
        self.head.eval()
        learnt = Learnt(self.head, False, 0.5)
        activations = []
        for passed in self.network.batches(self.batches, again=True):
            if passed.maps is not None:
                activations.append(learnt.activations(passed.maps))
            self.cost += watch.lap(0, passed.waiting, passed.network)
        if not activations:
            return {"turned": False, "threshold": 0.5}
        values = np.concatenate(activations)
        excess = border_excess(values)
        turned = excess > 0
        threshold = otsu(1 - values if turned else values)
        logger.info(
            "contrast: the maps' borders have %.3f %s activation than their middles, which says "
            "which side is foreground; threshold %.3f",
            *(abs(excess), "more" if turned else "less", threshold),
        )
        self.cost += watch.lap(0)
        return {"turned": turned, "threshold": threshold}

    def _epoch(self, watch: Stopwatch, bar: tqdm) -> float:
        """Train on all images once; returns the mean loss.

        The batches that boxes are made of are taken in a drawn order, some at a time, and the
        images of these are shuffled: so the maps are those that the boxes are made of, whether
        they are kept or made again.
        """
        pools = pools_of(self.batches, self.options.parameters["seed"] + self.epoch)
        shuffler = torch.Generator().manual_seed(self.options.parameters["seed"] + self.epoch)
        passed = self.network.batches([batch for pool in pools for batch in pool], again=True)
        self.head.train()
        losses = []
        for pool in pools:
            maps: dict[int, Tensor] = {}  # (C, h, w)
            for batch, some in zip(pool, passed, strict=False):
                readable = [index for index in batch if index not in some.errors]
                if some.maps is not None:
                    maps |= zip(readable, some.maps.unbind(), strict=True)
                self.cost += watch.lap(0, some.waiting, some.network)
            images = [index for batch in pool for index in batch]
            order = torch.randperm(len(images), generator=shuffler).tolist()
            for drawn in whole_batches([images[i] for i in order], self.options.batch_size):
                there = [maps[index] for index in drawn if index in maps]
                if there:
                    losses.append(self._step(torch.stack(there)))
                self.cost += watch.lap(0)
                bar.update(len(drawn))
        return sum(losses) / max(len(losses), 1)

    def _step(self, maps: Tensor) -> float:
        """Learn from maps (n, C, h, w); returns the loss."""
        loss = contrast_loss(maps, self.head(maps), self.options.parameters["alpha"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def pools_of(batches: Sequence[range], seed: int) -> list[list[range]]:
    """Batches in groups of about equal size, at most :data:`POOL_BATCHES`, which a seed draws."""
    number = -(-len(batches) // POOL_BATCHES)
    order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(seed)).tolist()
    return [[batches[i] for i in sorted(order[start::number])] for start in range(number)]


def whole_batches(images: Sequence[int], size: int) -> list[Sequence[int]]:
    """The images in batches; a last one that is small is left out, if it is not the only one."""
    end = max(size, len(images) // size * size)
    return [images[i : i + size] for i in range(0, min(end, len(images)), size)]


def localize(network: NetworkPass, parts: Parts, options: ContrastOptions) -> str:
    """Train the head, and find the boxes of this process's share of the images.

    Returns:
        The step that the first shard has to finish before this one can go on; empty where all of
        the share is done.

    Raises:
        InputError: an image cannot be read (unless skipped), or descriptors are not finite.
    """
    training = _Training(network, parts, options)
    waits = False
    if parts.crew.is_main:
        end = training.resume()
        waits = end is None and parts.shard is not None and parts.shard.index > 0
        if end is None and not waits:
            end = training.run()
            training.save(end)
            parts.add([cost_row(network.data_set.keys[0], SUMS_STEP, training.cost)])
    if parts.crew.broadcast(waits):
        return SUMS_STEP
    if not parts.crew.is_main:
        training.resume()
    end = _end(training)
    learnt = Learnt(training.head.eval(), end["turned"], end["threshold"])

    def boxes_of(_: Sequence[int], batch: Tensor, refine: Sequence[Refine | None]) -> list[Boxes]:
        return [
            boxes_of_activation(values, learnt.threshold, network.side, options.number, each)
            for values, each in zip(learnt.activations(batch), refine, strict=True)
        ]

    return image_run.localize(network, parts, "contrast", options.batch_size, boxes_of)


def _end(training: _Training) -> dict[str, Any]:
    end = training.resume()
    assert end is not None
    return end


def boxes_of_activation(
    activation: np.ndarray,
    threshold: float,
    side: int,
    number: int = 1,
    refine: Refine | None = None,
) -> Boxes:
    """The boxes of a map of activations (h, w), resized to ``side``² first.

    Args:
        refine: as of :func:`wend.localize.boxes.boxes_of_map`.

    Returns:
        The score is the mean activation of the region less that of the rest, at least 0.
    """
    values = cv2.resize(activation, (side, side), interpolation=cv2.INTER_LINEAR)
    return boxes_of_map(values, threshold, number, _contrast_of, refine)


def _contrast_of(values: np.ndarray, region: np.ndarray, _: Corners) -> float:
    rest = values[~region]
    return float(max(0.0, values[region].mean() - (rest.mean() if len(rest) else 0.0)))
