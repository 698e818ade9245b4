"""Images through a network, in batches that do not depend on who does which.

A batch goes through it once as long as what comes of it fits into memory
(:mod:`wend.localize.kept_maps`), also when several methods look at it.

Letters: N images, C channels, h·w cells of a map, S = side in pixels of the network's input.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wend.errors import InputError
from wend.images.reading import read_image
from wend.loader_workers import begin_worker, told_of_memory
from wend.localize.backbones import Backbone
from wend.localize.boxes import Refine
from wend.localize.kept_maps import KeptMaps, Turn
from wend.localize.refine.refinement import SIDE, Refinement, small_picture
from wend.structures.data_set import DataSet

Item = tuple[Tensor, "np.ndarray | None"]  # what comes of reading an image
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Passed:
    """What came of a batch.

    Attributes:
        maps: (N, C, h, w) float32 descriptors of the images that could be read, on the network's
            device, not to be changed; None where none could be read.
        refine: of each of these images, what refines maps by its colours; None: nothing does.
        errors: index of an image in the data set -> why it cannot be read.
        waiting, network: seconds until the images were read, and in the network; 0 where the maps
            were kept.
    """

    maps: Tensor | None
    refine: Sequence[Refine | None] = ()
    errors: dict[int, str] = field(default_factory=dict)
    waiting: float = 0.0
    network: float = 0.0


class _Images(Dataset):
    """An image's network input (3, S, S) and its picture, or the InputError of its reading.

    Args:
        with_pictures: whether images have a small picture, that maps are refined by.
    """

    def __init__(self, data_set: DataSet, backbone: Backbone, with_pictures: bool) -> None:
        self.data_set, self.preprocessing = data_set, backbone.preprocessing
        self.with_pictures = with_pictures

    def __len__(self) -> int:
        return len(self.data_set)

    def __getitem__(self, index: int) -> Item | InputError:
        try:
            data_set = self.data_set
            image = read_image(data_set.file_names[index], data_set.exif, data_set.max_megapixels)
            picture = small_picture(image) if self.with_pictures else None
            return self.preprocessing(image)[0], picture
        except InputError as error:  # raised in a worker, its message would be a traceback
            return error


class NetworkPass:
    """A network on a device, for the images of a data set.

    Args:
        num_workers: processes that read images; 0: this one.
        skip_unreadable: an image that cannot be read is noted, not raised.
        kept: where maps stay that are looked at again; of the passes of a command the same.
        shared: whether several methods look at the same batches, so that these stay.
        refinement: refines maps by an image's colours; None: nothing does.

    Attributes:
        side: S.
    """

    def __init__(
        self,
        backbone: Backbone,
        data_set: DataSet,
        device: torch.device,
        *,
        num_workers: int,
        skip_unreadable: bool,
        kept: KeptMaps[Passed] | None = None,
        shared: bool = False,
        refinement: Refinement | None = None,
    ) -> None:
        self.backbone, self.data_set, self.device = backbone, data_set, device
        self.num_workers, self.skip_unreadable = num_workers, skip_unreadable
        self.model: nn.Module = backbone.model.to(device)
        self.side: int = backbone.preprocessing.crop
        self._kept = KeptMaps[Passed]() if kept is None else kept
        self._shared, self._told = shared, False
        self._refinement = refinement

    @cached_property
    def shape_of_maps(self) -> tuple[int, int, int]:
        """C, h and w."""
        with torch.inference_mode():
            image = torch.zeros(1, 3, self.side, self.side, device=self.device)
            _, channels, height, width = self.model(image).shape
        return channels, height, width

    @property
    def bytes_per_image(self) -> int:
        """What an image's maps take in memory, with the picture that they are refined by."""
        channels, height, width = self.shape_of_maps
        return 4 * channels * height * width + (3 * SIDE**2 if self._refinement else 0)

    def fits(self, num_images: int) -> bool:
        """Whether the maps of so many images fit into the memory for them."""
        return num_images * self.bytes_per_image <= self._kept.limit

    def batches(self, plan: Sequence[Sequence[int]], *, again: bool = False) -> Iterator[Passed]:
        """What comes of each batch of image indices, in order; one loader reads ahead of all.

        Batches that the plan comes back to stay in memory till then, if there is room.

        Args:
            again: whether the caller looks at these batches again, after this plan.

        Raises:
            InputError: an image cannot be read (unless skipped), or descriptors are not finite.
        """
        again = again or self._shared
        each = self.bytes_per_image if again or len(set(map(tuple, plan))) < len(plan) else 0
        turns = self._kept.turns(self, list(map(tuple, plan)), each, again)
        self._tell(turns)
        loader = DataLoader(
            _Images(self.data_set, self.backbone, self._refinement is not None),
            batch_sampler=[list(turn.batch) for turn in turns if turn.made],
            num_workers=self.num_workers,
            collate_fn=list,
            worker_init_fn=begin_worker,
        )
        with told_of_memory("--num-workers"):
            read_ahead = None
            for turn in turns:
                began = perf_counter()
                if turn.made:
                    read_ahead = read_ahead or iter(loader)
                    items = next(read_ahead)
                    passed = self._passed(turn.batch, items, perf_counter() - began)
                else:
                    passed = self._from_memory(turn)
                self._put(turn, passed, each)
                yield passed

    def _tell(self, turns: Sequence[Turn]) -> None:
        """Say once that the memory is too small."""
        wanted = sum(len(turn.batch) for turn in turns if turn.wanted)
        kept = sum(len(turn.batch) for turn in turns if turn.kept)
        if kept < wanted and not self._told:
            self._told = True
            logger.info(
                "--keep-gib %g: the network's maps of %d of %d images fit; the others go through "
                "the network each time that they are looked at (all would take %.1f GiB)",
                *(self._kept.limit / 2**30, kept, wanted, wanted * self.bytes_per_image / 2**30),
            )

    def _put(self, turn: Turn, passed: Passed, bytes_per_image: int) -> None:
        if not turn.kept:
            self._kept.drop(self, turn.batch)
        elif turn.made:
            maps = None if passed.maps is None else passed.maps.cpu()
            value = replace(passed, maps=maps, waiting=0.0, network=0.0)
            self._kept.keep(self, turn.batch, value, len(turn.batch) * bytes_per_image)

    def _from_memory(self, turn: Turn) -> Passed:
        passed = self._kept.get(self, turn.batch)
        return passed if passed.maps is None else replace(passed, maps=passed.maps.to(self.device))

    @torch.inference_mode()
    def _passed(
        self, batch: Sequence[int], items: Sequence[Item | InputError], waiting: float
    ) -> Passed:
        began = perf_counter()
        inputs, pictures, errors = [], [], {}
        for index, item in zip(batch, items, strict=True):
            if not isinstance(item, InputError):
                inputs.append(item[0])
                pictures.append(item[1])
            elif self.skip_unreadable:
                errors[index] = str(item)
            else:
                raise item
        if not inputs:
            return Passed(None, (), errors, waiting)
        images = torch.stack(inputs).to(self.device)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            maps = self.model(images).contiguous()  # no part of something larger
        if not torch.isfinite(maps).all():  # and so the GPU is done
            raise InputError(
                f"the network's descriptors of {self.data_set.keys[batch[0]]} and the images after "
                f"it are not finite numbers; are the weights whole, and trained?"
            )
        return Passed(
            maps, [self._refine(each) for each in pictures], errors, waiting, perf_counter() - began
        )

    def _refine(self, picture: np.ndarray | None) -> Refine | None:
        if picture is None or self._refinement is None:
            return None
        return self._refinement.of(picture)
