"""DDT over a data set, group by group, in batches, shared out and resumable.

A group is a class as in PSOL, or the whole set. The images of a group are cut into blocks of whole
batches; each block's sums are made by one process, and those of the blocks are added in their
order. A group whose descriptors fit into memory is a unit of work: its images are looked at twice,
for the component and for the boxes. A larger one's units are blocks: first their sums, each in a
file; when all are there, their boxes. Whatever does not stay in memory
(:class:`wend.localize.network_pass.NetworkPass`) goes through the network twice.

Batches and blocks depend on the images and the batch size alone, so that the boxes are the same
bits whoever did which unit, and after any interruption.

Where the sign is PSOL's, it is that of the largest projection of all, which is only known at the
end: a block of a large group notes the boxes on both sides, and
:func:`wend.localize.signs.settle` chooses.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wend.errors import InputError
from wend.files import atomic_write
from wend.localize.boxes import Refine
from wend.localize.cost import Cost, Stopwatch, cost_row
from wend.localize.ddt import Moments, find_boxes, project
from wend.localize.found import (
    BOXES_STEP,
    SUMS,
    SUMS_STEP,
    Boxes,
    EitherSide,
    GroupBlock,
    Result,
    SumsOf,
    image_row,
)
from wend.localize.network_pass import NetworkPass, Passed
from wend.localize.signs import turns
from wend.parts import Parts
from wend.structures.data_set import DataSet

BLOCK_BATCHES = 50  # of a block at least, where the group has as many
MOST_BLOCKS = 128  # of a group: sums of 1280 channels take 13 MB each
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DdtOptions:
    """The options of a run.

    Attributes:
        sign: one of :data:`wend.localize.signs.SIGNS`.
        upsampling: one of :data:`wend.localize.ddt.UPSAMPLINGS`.
        batch_size: images at a time, at least 1.
        number: boxes per image at most, at least 1.
    """

    sign: str = "psol"
    upsampling: str = "nearest"
    batch_size: int = 32
    number: int = 1


def group_images(data_set: DataSet, by_class: bool = True) -> dict[str, list[int]]:
    """Indices of the images by class, or else by their keys' folders; or all in one group.

    Raises:
        InputError: by class, and an image has neither.
    """
    if not by_class:
        return {"all": list(range(len(data_set)))}
    groups: dict[str, list[int]] = {}
    for index, (key, class_id) in enumerate(
        zip(data_set.keys, data_set.class_ids.tolist(), strict=True)
    ):
        folder = key.rpartition("/")[0]
        if class_id < 0 and not folder:
            raise InputError(
                f"{data_set.file_names[index]}: has no class and lies in no class folder; use "
                f"--group all for images without classes"
            )
        groups.setdefault(folder if class_id < 0 else str(class_id), []).append(index)
    return groups


def blocks_of(num_images: int, batch_size: int) -> list[range]:
    """The blocks of a group: ranges of its images, of whole batches but for the last."""
    batches = -(-num_images // batch_size)
    length = max(BLOCK_BATCHES, -(-batches // MOST_BLOCKS)) * batch_size
    return [range(i, min(i + length, num_images)) for i in range(0, num_images, length)]


@dataclass(frozen=True)
class _Group:
    """A group's name, its number, which its files are called by, and the indices of its images."""

    name: str
    number: int
    images: Sequence[int]
    blocks: Sequence[range]

    def sums_file(self, parts: Parts, block: int) -> Path:
        return parts.folder / SUMS / f"{self.number}.{block}.npz"

    def axis_file(self, parts: Parts) -> Path:
        return parts.folder / SUMS / f"{self.number}.axis.npz"


@dataclass(frozen=True)
class _Unit:
    """Images of a group: those of one of its blocks, or all (None)."""

    group: _Group
    block: int | None

    @property
    def images(self) -> Sequence[int]:
        if self.block is None:
            return self.group.images
        block = self.group.blocks[self.block]
        return self.group.images[block.start : block.stop]

    @property
    def looks(self) -> int:
        """How many times one process looks at the images before the unit is done."""
        return 2 if self.block is None else 1


class _Axis(NamedTuple):
    """A group's mean and component (C,), and on which side of it the border is."""

    mean: Tensor
    component: Tensor
    contrast: float

    @classmethod
    def of(cls, moments: Moments) -> _Axis:
        mean, component = moments.axis()
        return cls(mean, component, moments.border_contrast(component))

    def project(self, maps: Tensor) -> np.ndarray:
        return project(maps.to(self.mean.device), self.mean, self.component)


class _Taker:
    """What becomes of the descriptors of one unit's images.

    Attributes:
        errors: index of an image -> why it cannot be read.
        step: what the work is, in words of the parts.
    """

    step = BOXES_STEP

    def __init__(self, unit: _Unit, options: DdtOptions) -> None:
        self.unit, self.options = unit, options
        self.errors: dict[int, str] = {}

    def take(self, batch: Sequence[int], passed: Passed) -> None:
        """Take in what came of a batch.

        It gets all batches of the unit in their order, as often as the unit has looks.
        """
        raise NotImplementedError

    def finish(self, work: _Work) -> None:
        """Note the unit as done."""
        raise NotImplementedError


class _Sums(_Taker):
    """The sums of a block of a large group."""

    step = SUMS_STEP
    moments: Moments | None = None

    def take(self, batch: Sequence[int], passed: Passed) -> None:
        if passed.maps is not None:
            _, channels, _, _ = passed.maps.shape
            self.moments = self.moments or Moments.empty(channels, passed.maps.device)
            self.moments.add(passed.maps)

    def finish(self, work: _Work) -> None:
        assert self.unit.block is not None
        _save(self.unit.group.sums_file(work.parts, self.unit.block), self.moments)
        work.parts.add([{"sums": self.unit.group.name, "block": self.unit.block}])


class _Boxes(_Taker):
    """The boxes of a unit's images."""

    def __init__(self, unit: _Unit, options: DdtOptions) -> None:
        super().__init__(unit, options)
        self.projections: list[np.ndarray] = []
        self.refine: list[Refine | None] = []
        self.axis: _Axis | None = None  # None: no image of the group can be read

    def take(self, batch: Sequence[int], passed: Passed) -> None:
        if passed.maps is not None and self.axis is not None:
            self.projections.append(self.axis.project(passed.maps))
            self.refine += passed.refine

    def _note(self, work: _Work, blocks: int) -> None:
        """Note the boxes, and what the group's sign depends on."""
        name, sign = self.unit.group.name, self.options.sign
        results: dict[int, Result | EitherSide] = dict(self.errors)
        extreme, contrast = None, self.axis.contrast if self.axis else 0.0
        if self.projections:
            values = np.concatenate(self.projections)
            extreme = float(values.flat[np.abs(values).argmax()])
            turned = turns(sign, contrast, extreme)
            readable = (index for index in self.unit.images if index not in self.errors)
            for index, value, refine in zip(readable, values, self.refine, strict=True):
                if sign == "psol" and blocks > 1:  # another block may have a larger extreme
                    sides = work.find_boxes(value, refine), work.find_boxes(-value, refine)
                    results[index] = EitherSide(*sides, name)
                else:
                    results[index] = work.find_boxes(-value if turned else value, refine)
        statistics = {"blocks": blocks, "extreme": extreme, "contrast": contrast}
        rows = [{"group": name, "block": self.unit.block or 0, **statistics}]
        rows += [image_row(work.data_set.keys[i], results[i]) for i in self.unit.images]
        work.parts.add(rows)


class _BoxesOfGroup(_Boxes):
    """The boxes of a group of one unit."""

    def __init__(self, unit: _Unit, options: DdtOptions) -> None:
        super().__init__(unit, options)
        self.total: Moments | None = None
        self.block = _Sums(unit, options)
        self.ends = {unit.images[block[-1]] for block in unit.group.blocks}
        self.summed = False

    def take(self, batch: Sequence[int], passed: Passed) -> None:
        if self.summed:
            super().take(batch, passed)
            return
        self.block.take(batch, passed)
        if batch[-1] in self.ends:
            self.total = _sum([self.total, self.block.moments])
            self.block = _Sums(self.unit, self.options)
        self.summed = batch[-1] == self.unit.images[-1]
        if self.summed and self.total is not None:
            self.axis = _Axis.of(self.total)

    def finish(self, work: _Work) -> None:
        self._note(work, 1)


class _BoxesOfBlock(_Boxes):
    """The boxes of a block of a large group."""

    def __init__(self, unit: _Unit, options: DdtOptions, axis: _Axis | None) -> None:
        super().__init__(unit, options)
        self.axis = axis

    def finish(self, work: _Work) -> None:
        self._note(work, len(self.unit.group.blocks))


def _sum(several: Iterable[Moments | None]) -> Moments | None:
    """The sums of blocks together, in their order; None where all are of no image."""
    total: Moments | None = None
    for moments in several:
        if moments is not None:
            total = total or Moments.empty(len(moments.total), moments.total.device)
            total.add_sums(moments)
    return total


def _save(path: Path, value: Moments | _Axis | None) -> None:
    """Write tensors and numbers by name; nothing for None."""
    fields = {} if value is None else value._asdict() if isinstance(value, tuple) else vars(value)
    arrays = {k: v.cpu().numpy() if isinstance(v, Tensor) else v for k, v in fields.items()}
    with atomic_write(path, "wb") as file:
        # the ignored error: numpy's stub takes one of the arrays for savez' own allow_pickle
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Tensors and numbers by name; None for nothing.

    Raises:
        InputError: it is not there, or not as it was written: it is removed.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        path.unlink(missing_ok=True)
        raise InputError(
            f"{path}: is no sum of DDT's as it was written ({error}); the same command makes it "
            f"anew"
        ) from error
    on = "cpu" if device.type == "mps" else device  # Apple's GPU has no float64
    return {
        k: torch.from_numpy(v).to(on) if v.ndim else v.item() for k, v in arrays.items()
    } or None


class _Work:
    """The network and the images."""

    def __init__(self, network: NetworkPass, parts: Parts, options: DdtOptions) -> None:
        self.network, self.parts, self.options = network, parts, options
        self.data_set, self.device = network.data_set, network.device

    def find_boxes(self, projection: np.ndarray, refine: Refine | None) -> Boxes:
        """The boxes of a projection (h, w)."""
        options = self.options
        return find_boxes(projection, options.upsampling, self.network.side, options.number, refine)

    def run(
        self, units: Sequence[_Unit], taker_of: Callable[[_Unit], _Taker], *, again: bool = False
    ) -> None:
        """Look at all batches of the units; one loader reads ahead from unit to unit.

        Args:
            again: whether the units are looked at again, by others.
        """
        size = self.options.batch_size
        plan = [
            (unit, look, unit.images[start : start + size])
            for unit in units
            for look in range(unit.looks)
            for start in range(0, len(unit.images), size)
        ]
        passed = self.network.batches([batch for _, _, batch in plan], again=again)
        taker, cost, watch = None, Cost(), Stopwatch()
        for (unit, look, batch), result in zip(plan, passed, strict=True):
            is_end = look == unit.looks - 1 and batch[-1] == unit.images[-1]
            taker = taker or taker_of(unit)
            taker.errors |= result.errors
            with torch.inference_mode():
                taker.take(batch, result)
                if is_end:
                    taker.finish(self)
            images = len(batch) if look == 0 else 0
            boxed = images if taker.step == BOXES_STEP else 0
            cost += watch.lap(boxed, result.waiting, result.network)
            if is_end:
                self.parts.add([cost_row(self.data_set.keys[unit.images[0]], taker.step, cost)])
                taker, cost = None, Cost()
            self.parts.advance(images)

    def axis_of(self, group: _Group) -> _Axis | None:
        """A large group's axis, from the sums of all its blocks; the first to ask writes it down.

        The others read it: processors of another kind may round otherwise.
        """
        path = group.axis_file(self.parts)
        if self.parts.crew.is_main and not path.exists():
            sums = (
                Moments(**loaded)
                for block in range(len(group.blocks))
                if (loaded := _load(group.sums_file(self.parts, block), self.device))
            )
            total = _sum(sums)
            _save(path, None if total is None else _Axis.of(total))
        self.parts.crew.wait()
        loaded = _load(path, self.device)
        return _Axis(**loaded) if loaded else None


def localize(
    network: NetworkPass,
    groups: Mapping[str, Sequence[int]],
    parts: Parts,
    options: DdtOptions,
) -> str:
    """Find the boxes of this process's share of the images; ``parts`` notes them.

    Args:
        groups: name -> indices of images, as of :func:`group_images`.

    Returns:
        The step that other shards have to finish before this one can go on; empty where all of the
        share is done.

    Raises:
        InputError: an image cannot be read (unless skipped), or descriptors are not finite.
    """
    work, data_set = _Work(network, parts, options), network.data_set
    small: list[_Unit] = []
    large: list[_Unit] = []
    for number, (name, images) in enumerate(groups.items()):
        group = _Group(name, number, images, blocks_of(len(images), options.batch_size))
        if network.fits(len(images)):
            small.append(_Unit(group, None))
        else:
            large += [_Unit(group, block) for block in range(len(group.blocks))]

    def has_sums(unit: _Unit) -> bool:
        assert unit.block is not None
        file = unit.group.sums_file(parts, unit.block)
        return SumsOf(unit.group.name, unit.block) in parts.done and file.is_file()

    def has_boxes(unit: _Unit) -> bool:
        keys: list[Hashable] = [data_set.keys[i] for i in unit.images]
        return all(key in parts.done for key in keys) and (
            GroupBlock(unit.group.name, unit.block or 0) in parts.done
        )

    def is_done(unit: _Unit) -> bool:
        return has_boxes(unit) or (unit.block is not None and has_sums(unit))

    def num_images(unit: _Unit) -> int:
        return len(unit.images)

    mine = parts.share("DDT" if small else "DDT, sums", [*small, *large], is_done, num_images)
    work.run([u for u in mine if u.block is None], lambda unit: _BoxesOfGroup(unit, options))
    work.run([u for u in mine if u.block is not None], lambda u: _Sums(u, options), again=True)
    parts.end_step(SUMS_STEP if large else BOXES_STEP)
    if not large:
        return ""
    waits = parts.crew.is_main and not all(map(is_done, large))
    if parts.crew.broadcast(waits):
        return SUMS_STEP
    mine = parts.share("DDT, boxes", large, has_boxes, num_images)
    groups_of_blocks = {unit.group.name: unit.group for unit in large}
    axes = {name: work.axis_of(group) for name, group in groups_of_blocks.items()}
    work.run(mine, lambda unit: _BoxesOfBlock(unit, options, axes[unit.group.name]))
    parts.end_step(BOXES_STEP)
    return ""
