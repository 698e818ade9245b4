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
from collections.abc import Iterator, Sequence
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
from wend.localize.network_pass import NetworkPass, Passed
from wend.parts import Parts

HEAD_FILE = "head.pt"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ContrastOptions:
    """The options of a run.

    Attributes:
        parameters: as of :func:`wend.localize.method_options.contrast`.
        batch_size: images at a time, in training too.
        keep_bytes: descriptors of fewer bytes stay in memory; else each epoch passes the network.
        number: boxes per image at most, at least 1.
    """

    parameters: dict[str, Any] = field(default_factory=contrast)
    batch_size: int = 32
    keep_bytes: int = 2 << 30
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


class _KeptMaps:
    """The maps of images, kept in memory where they fit."""

    def __init__(self, network: NetworkPass, keep_bytes: int) -> None:
        self.network = network
        number = len(network.data_set)
        self.fits = 4 * network.size_of_maps() * number <= keep_bytes
        self.kept: dict[int, Tensor] = {}  # (C, h, w)
        self.errors: dict[int, str] = {}

    def batches(self, plan: Sequence[Sequence[int]]) -> Iterator[Passed]:
        """As of :class:`NetworkPass`, of memory where all images of the plan are in it."""
        known = self.kept.keys() | self.errors.keys()
        if all(index in known for batch in plan for index in batch):
            for batch in plan:
                there = [self.kept[index] for index in batch if index in self.kept]
                errors = {index: self.errors[index] for index in batch if index in self.errors}
                yield Passed(None, torch.stack(there) if there else None, errors)
            return
        for batch, passed in zip(plan, self.network.batches(plan), strict=True):
            if self.fits:
                self.errors |= passed.errors
                readable = [index for index in batch if index not in passed.errors]
                if passed.maps is not None:
                    self.kept |= zip(readable, passed.maps.cpu().unbind(), strict=True)
            yield passed


class _Training:
    """The training of a head, which goes on where its file says."""

    def __init__(self, network: NetworkPass, parts: Parts, options: ContrastOptions) -> None:
        self.network, self.options = network, options
        self.file = parts.folder / SUMS / HEAD_FILE
        self.settings = json.dumps(parts.settings, sort_keys=True)
        self.number = len(network.data_set)
        self.epoch, self.cost = 0, Cost()
        with torch.inference_mode():
            side = network.side
            shape = network.model(torch.zeros(1, 3, side, side, device=network.device)).shape
        if shape[2] * shape[3] < 2:
            raise InputError(
                f"--method contrast: the network's maps have {shape[2]}x{shape[3]} cells, which "
                f"nothing can be told apart in; try a larger --input-size or an earlier --layer"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.parameters["seed"])
            self.head = ContrastHead(shape[1])
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

    def run(self, maps: _KeptMaps) -> dict[str, Any]:
        """Train to the end; returns the side and the threshold."""
        parameters, size = self.options.parameters, self.options.batch_size
        epochs = parameters["epochs"]
        watch = Stopwatch()
        if maps.fits:  # in the batches that the boxes are made of, so that these are the same
            for passed in maps.batches(image_run.batches_of(self.number, size)):
                self.cost += watch.lap(0, passed.waiting, passed.network)
        total, done = epochs * self.number, self.epoch * self.number
        with tqdm(
            total=total, initial=done, desc="contrast, training", unit="image", disable=None
        ) as bar:
            while self.epoch < epochs:
                loss = self._epoch(maps, watch, bar)
                self.epoch += 1
                logger.info("contrast: epoch %d of %d, loss %.4f", self.epoch, epochs, loss)
                self.save()
        self.head.eval()
        batches = image_run.batches_of(self.number, size)
        learnt = Learnt(self.head, False, 0.5)
        activations = [
            learnt.activations(passed.maps)
            for passed in maps.batches(batches)
            if passed.maps is not None
        ]
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

    def _epoch(self, maps: _KeptMaps, watch: Stopwatch, bar: tqdm) -> float:
        parameters, size = self.options.parameters, self.options.batch_size
        generator = torch.Generator().manual_seed(parameters["seed"] + self.epoch)
        order = torch.randperm(self.number, generator=generator).tolist()
        whole = max(size, self.number // size * size)  # a last batch that is small is left out
        plan = [order[i : i + size] for i in range(0, min(whole, self.number), size)]
        self.head.train()
        losses = []
        for batch, passed in zip(plan, maps.batches(plan), strict=True):
            if passed.maps is not None:
                # a copy: what the network made in inference mode cannot be learnt from
                given = passed.maps.to(self.network.device).clone()
                loss = contrast_loss(given, self.head(given), parameters["alpha"])
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(float(loss.detach()))
            self.cost += watch.lap(0, passed.waiting, passed.network)
            bar.update(len(batch))
        return sum(losses) / max(len(losses), 1)


def localize(network: NetworkPass, parts: Parts, options: ContrastOptions) -> str:
    """Train the head, and find the boxes of this process's share of the images.

    Returns:
        The step that the first shard has to finish before this one can go on; empty where all of
        the share is done.

    Raises:
        InputError: an image cannot be read (unless skipped), or descriptors are not finite.
    """
    training = _Training(network, parts, options)
    maps = _KeptMaps(network, options.keep_bytes)
    waits = False
    keys = network.data_set.keys
    if parts.crew.is_main:
        end = training.resume()
        waits = end is None and parts.shard is not None and parts.shard.index > 0
        if end is None and not waits:
            end = training.run(maps)
            training.save(end)
            parts.add([cost_row(keys[0], SUMS_STEP, training.cost)])
    if parts.crew.broadcast(waits):
        return SUMS_STEP
    if not parts.crew.is_main:
        training.resume()
    end = _end(training)
    learnt = Learnt(training.head.eval(), end["turned"], end["threshold"])

    def boxes_of(_: Sequence[int], batch: Tensor) -> list[Boxes]:
        return [
            boxes_of_activation(values, learnt.threshold, network.side, options.number)
            for values in learnt.activations(batch)
        ]

    return image_run.localize(maps, parts, keys, "contrast", options.batch_size, boxes_of)


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
