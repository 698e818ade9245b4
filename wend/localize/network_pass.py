"""Images through a network, in batches that do not depend on who does which.

Letters: N images, C channels, h·w cells of a map, S = side in pixels of the network's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from wend.errors import InputError
from wend.images.reading import read_image
from wend.loader_workers import begin_worker, told_of_memory
from wend.localize.backbones import Backbone
from wend.structures.data_set import DataSet


@dataclass(frozen=True)
class Passed:
    """A batch that went through the network.

    Attributes:
        images: (N, 3, S, S) the network's input, of those that could be read; None where none
            could.
        maps: (N, C, h, w) descriptors of the same.
        errors: index of an image in the data set -> why it cannot be read.
        waiting, network: seconds until the images were read, and in the network.
    """

    images: Tensor | None
    maps: Tensor | None
    errors: dict[int, str] = field(default_factory=dict)
    waiting: float = 0.0
    network: float = 0.0


class _Images(Dataset):
    """An image's network input (3, S, S), or the InputError that its reading ended in."""

    def __init__(self, data_set: DataSet, backbone: Backbone) -> None:
        self.data_set, self.preprocessing = data_set, backbone.preprocessing

    def __len__(self) -> int:
        return len(self.data_set)

    def __getitem__(self, index: int) -> Tensor | InputError:
        try:
            data_set = self.data_set
            image = read_image(data_set.file_names[index], data_set.exif, data_set.max_megapixels)
            return self.preprocessing(image)[0]
        except InputError as error:  # raised in a worker, its message would be a traceback
            return error


class NetworkPass:
    """A network on a device, for the images of a data set.

    Args:
        num_workers: processes that read images; 0: this one.
        skip_unreadable: an image that cannot be read is noted, not raised.
    """

    def __init__(
        self,
        backbone: Backbone,
        data_set: DataSet,
        device: torch.device,
        *,
        num_workers: int,
        skip_unreadable: bool,
    ) -> None:
        self.backbone, self.data_set, self.device = backbone, data_set, device
        self.num_workers, self.skip_unreadable = num_workers, skip_unreadable
        self.model: nn.Module = backbone.model.to(device)
        self.side: int = backbone.preprocessing.crop

    def size_of_maps(self) -> int:
        """Numbers in an image's descriptors."""
        with torch.inference_mode():
            return self.model(torch.zeros(1, 3, self.side, self.side, device=self.device)).numel()

    def batches(self, plan: Sequence[Sequence[int]]) -> Iterator[Passed]:
        """What comes of each batch of image indices, in order; one loader reads ahead of all.

        Raises:
            InputError: an image cannot be read (unless skipped), or descriptors are not finite.
        """
        loader = DataLoader(
            _Images(self.data_set, self.backbone),
            batch_sampler=[list(batch) for batch in plan],
            num_workers=self.num_workers,
            collate_fn=list,
            worker_init_fn=begin_worker,
        )
        with told_of_memory("--num-workers"):
            began = perf_counter()
            for batch, items in zip(plan, loader, strict=True):
                read = perf_counter()
                yield self._passed(batch, items, read - began)
                began = perf_counter()

    @torch.inference_mode()
    def _passed(
        self, batch: Sequence[int], items: Sequence[Tensor | InputError], waiting: float
    ) -> Passed:
        began = perf_counter()
        inputs, errors = [], {}
        for index, item in zip(batch, items, strict=True):
            if not isinstance(item, InputError):
                inputs.append(item)
            elif self.skip_unreadable:
                errors[index] = str(item)
            else:
                raise item
        if not inputs:
            return Passed(None, None, errors, waiting)
        images = torch.stack(inputs).to(self.device)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            maps = self.model(images)
        if not torch.isfinite(maps).all():  # and so the GPU is done
            raise InputError(
                f"the network's descriptors of {self.data_set.keys[batch[0]]} and the images after "
                f"it are not finite numbers; are the weights whole, and trained?"
            )
        return Passed(images, maps, errors, waiting, perf_counter() - began)
