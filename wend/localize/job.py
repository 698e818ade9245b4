"""What all methods of a command have in common: the images, who does the work, the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from wend.launch.crew import Crew
from wend.localize.request import NetworkRequest
from wend.parts import Shard
from wend.structures.data_set import DataSet

if TYPE_CHECKING:
    from wend.localize.networks import Networks


@dataclass(frozen=True)
class Job:
    """What all methods of a command have in common.

    Attributes:
        data_set: the images.
        images: they in words, as of :func:`wend.localize.whole.describe_images`.
        crew: the processes that share them out.
        shard: does a share of the work alone; None: all of it.
        network: None where no method needs one.
        num_workers: processes that read images; 0: this one.
        skip_unreadable: whether images that cannot be read are left out, and counted.
    """

    data_set: DataSet
    images: Mapping[str, Any]
    crew: Crew
    shard: Shard | None = None
    network: NetworkRequest | None = None
    num_workers: int = 2
    skip_unreadable: bool = False

    @cached_property
    def networks(self) -> Networks:
        """The network's passes over the images, each built when a method first asks for it."""
        from wend.localize.networks import Networks

        assert self.network is not None
        return Networks(
            *(self.network, self.data_set, self.crew.device_name()),
            num_workers=self.num_workers,
            skip_unreadable=self.skip_unreadable,
        )
