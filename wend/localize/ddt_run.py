"""DDT over a data set, group by group, in batches, resumable.

A group is a class as in PSOL, or the whole set. A small group's descriptors stay in memory between
finding the component and projecting on it; a larger one's images go through the network twice, and
its sums and projections are saved every :data:`SAVE_EVERY` batches. All batches of all groups come
from one loader, whose processes read ahead from one group to the next.

A batch is always of the same images and sums are added in the same order, so a run that was
interrupted ends in the same boxes as one that was not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from wend.errors import InputError
from wend.images.reading import read_image
from wend.loader_workers import begin_worker, told_of_memory
from wend.localize.backbones import Backbone
from wend.localize.ddt import Moments, border_contrast, find_boxes, orient, project
from wend.localize.partial import Partial, Result
from wend.structures.data_set import DataSet

SAVE_EVERY = 50  # batches
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DdtOptions:
    """The options of a run.

    Attributes:
        sign: one of :data:`wend.localize.ddt.SIGNS`.
        upsampling: one of :data:`wend.localize.ddt.UPSAMPLINGS`.
        batch_size: images at a time, at least 1.
        num_workers: processes that read images; 0: this one.
        keep_bytes: a group of fewer bytes of descriptors goes through the network once.
        skip_unreadable: leave out images that cannot be read instead of ending the run.
        number: boxes per image at most, at least 1.
    """

    sign: str = "psol"
    upsampling: str = "nearest"
    batch_size: int = 32
    num_workers: int = 2
    keep_bytes: int = 2 << 30
    skip_unreadable: bool = False
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


class _Images(Dataset):
    """A file's network input (3, S, S), or the InputError that its reading ended in."""

    def __init__(
        self, files: Sequence[str], backbone: Backbone, exif: str, max_megapixels: float
    ) -> None:
        self.files, self.exif, self.max_megapixels = files, exif, max_megapixels
        self.preprocessing = backbone.preprocessing

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor | InputError:
        try:
            image = read_image(self.files[index], self.exif, self.max_megapixels)
            return self.preprocessing(image)[0]
        except InputError as error:  # raised in a worker, its message would be a traceback
            return error


@dataclass
class _Group:
    """A group's images and its state so far.

    Attributes:
        keys: its images'.
        start: the index of its first image among those of all groups.
        in_memory: whether its descriptors are kept, so that one pass is enough.
    """

    name: str
    keys: list[str]
    start: int
    in_memory: bool
    moments: Moments | None = None
    axis: tuple[Tensor, Tensor] | None = None
    passes_done: int = 0
    batches_done: int = 0
    kept: list[Tensor] = field(default_factory=list)
    projections: list[np.ndarray] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)

    def batches(self, size: int) -> list[range]:
        """Indices of the images that are still to go through the network, one range per batch."""
        stop = self.start + len(self.keys)
        one_pass = [range(i, min(i + size, stop)) for i in range(self.start, stop, size)]
        every = one_pass if self.in_memory else one_pass * 2
        return every[self.passes_done * len(one_pass) + self.batches_done :]


class _Run:
    """Takes batches of descriptors in order and notes each group's boxes."""

    def __init__(self, side: int, partial: Partial, options: DdtOptions) -> None:
        self.side, self.partial, self.options = side, partial, options
        self.turned = self.groups = 0

    def save(self, group: _Group) -> None:
        """Keep a group's state, so that an interruption costs few batches."""
        moments, errors = group.moments, list(group.errors.items())
        self.partial.save_group(
            name=np.array(group.name),
            done=np.array([group.passes_done, group.batches_done, moments.count if moments else 0]),
            total=moments.total.cpu().numpy() if moments else np.zeros(0),
            second=moments.second.cpu().numpy() if moments else np.zeros((0, 0)),
            projections=np.concatenate(group.projections) if group.projections else np.zeros(0),
            errors=np.array(errors, dtype=str).reshape(-1, 2),
        )

    def restore(self, group: _Group, device: torch.device) -> None:
        """Restore the saved state if it is this group's."""
        state = self.partial.load_group()
        if group.in_memory or not state or str(state["name"]) != group.name:
            return
        group.passes_done, group.batches_done, count = map(int, state["done"])
        if count:
            group.moments = Moments.empty(len(state["total"]), device)
            group.moments.count = count
            group.moments.total.copy_(torch.from_numpy(state["total"]))
            group.moments.second.copy_(torch.from_numpy(state["second"]))
        group.projections = [state["projections"]] if state["projections"].ndim == 3 else []
        group.errors = dict(state["errors"].tolist())
        logger.info(
            "group %s: going on after batch %d of pass %d",
            group.name,
            group.batches_done,
            group.passes_done + 1,
        )

    def take(self, group: _Group, maps: Tensor | None) -> None:
        """Take in a batch's descriptors (N, C, h, w); None if none of its images could be read."""
        if maps is not None and group.passes_done == 0:
            group.moments = group.moments or Moments.empty(maps.shape[1], maps.device)
            group.moments.add(maps)
            if group.in_memory:
                group.kept.append(maps.cpu())
        elif maps is not None:
            group.projections.append(self._project(group, maps))
        group.batches_done += 1
        if group.batches_done == -(-len(group.keys) // self.options.batch_size):
            group.passes_done, group.batches_done = group.passes_done + 1, 0
        if group.passes_done == (1 if group.in_memory else 2):
            self._finish(group)
        elif not group.in_memory and group.batches_done % SAVE_EVERY == 0:
            self.save(group)

    def _project(self, group: _Group, maps: Tensor) -> np.ndarray:
        if group.axis is None:
            assert group.moments is not None  # of the first pass
            group.axis = group.moments.axis()
        return project(maps.to(group.axis[0].device), *group.axis)

    def _finish(self, group: _Group) -> None:
        """Turn a group's projections into boxes and note them."""
        group.projections += [self._project(group, maps) for maps in group.kept]
        results: dict[str, Result] = dict(group.errors)
        readable = [key for key in group.keys if key not in group.errors]
        if readable:
            options = self.options
            values = orient(np.concatenate(group.projections), options.sign)
            self.groups += 1
            self.turned += border_contrast(values) > 0
            for key, value in zip(readable, values, strict=True):
                results[key] = find_boxes(value, options.upsampling, self.side, options.number)
        group.moments = group.axis = None
        group.kept, group.projections = [], []
        self.partial.add(results)
        self.partial.drop_group()


def localize(
    backbone: Backbone,
    data_set: DataSet,
    groups: Mapping[str, Sequence[int]],
    partial: Partial,
    device: torch.device,
    options: DdtOptions,
) -> None:
    """Find the boxes of all groups that are not done; they end in ``partial``.

    Args:
        groups: name -> indices of images, as of :func:`group_images`.

    Raises:
        InputError: an image cannot be read (unless skipped), or descriptors are not finite.
    """
    model = backbone.model.to(device)
    side = backbone.preprocessing.crop
    with torch.inference_mode():
        size = model(torch.zeros(1, 3, side, side, device=device)).numel()
    waiting: list[_Group] = []
    files: list[str] = []
    for name, members in groups.items():
        keys = [data_set.keys[i] for i in members]
        if all(key in partial.done for key in keys):
            continue
        in_memory = 4 * len(members) * size <= options.keep_bytes
        waiting.append(_Group(name, keys, len(files), in_memory))
        files += [data_set.file_names[i] for i in members]
    run = _Run(side, partial, options)
    if waiting:
        run.restore(waiting[0], device)
        with (
            torch.inference_mode(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        ):
            images = _Images(files, backbone, data_set.exif, data_set.max_megapixels)
            _stream(run, backbone, device, waiting, images)
    if run.turned:
        logger.warning(
            "%d of %d groups: the maps' borders are more object than their middles; the sign may "
            "be wrong there (--sign %s; --sign border would turn them)",
            run.turned,
            run.groups,
            options.sign,
        )


def _stream(
    run: _Run, backbone: Backbone, device: torch.device, waiting: list[_Group], images: _Images
) -> None:
    """Pass all batches of all groups through the network."""
    options = run.options
    plan = [(group, batch) for group in waiting for batch in group.batches(options.batch_size)]
    loader = DataLoader(
        images,
        batch_sampler=[list(batch) for _, batch in plan],
        num_workers=options.num_workers,
        collate_fn=list,
        worker_init_fn=begin_worker,
    )
    total = sum(len(batch) for _, batch in plan)
    with (
        told_of_memory("--num-workers"),
        tqdm(total=total, desc="DDT", unit="image", disable=None) as bar,
    ):
        for (group, batch), items in zip(plan, loader, strict=True):
            inputs = []
            for index, item in zip(batch, items, strict=True):
                if not isinstance(item, InputError):
                    inputs.append(item)
                elif options.skip_unreadable:
                    group.errors[group.keys[index - group.start]] = str(item)
                else:
                    raise item
            maps = backbone.model(torch.stack(inputs).to(device)) if inputs else None
            if maps is not None and not torch.isfinite(maps).all():
                raise InputError(
                    f"the network's descriptors of {group.keys[batch[0] - group.start]} and the "
                    f"images after it are not finite numbers; are the weights whole, and trained?"
                )
            run.take(group, maps)
            bar.update(len(batch))
