"""The passes of a command's network: one for each layer that methods look at, built once."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from wend import __version__
from wend.devices import choose_device
from wend.localize.backbones import Backbone, build_backbone
from wend.localize.classifiers import ClassMaps, build_classifier
from wend.localize.kept_maps import KeptMaps
from wend.localize.network_pass import NetworkPass, Passed
from wend.localize.refine.refinement import Refinement
from wend.localize.request import NetworkRequest
from wend.structures.data_set import DataSet


@dataclass(frozen=True)
class Network:
    """A network over the images, and what its descriptors depend on, for the output's notes."""

    over: NetworkPass
    settings: dict[str, Any]


class Networks:
    """The passes of a network over a data set; their maps share the memory that is allowed.

    Args:
        device: its name where the request says none; None: a GPU if there is one.
        num_workers, skip_unreadable: as of :class:`wend.localize.network_pass.NetworkPass`.

    Attributes:
        batch_size: images at a time.
    """

    def __init__(
        self,
        request: NetworkRequest,
        data_set: DataSet,
        device: str | None = None,
        *,
        num_workers: int,
        skip_unreadable: bool,
    ) -> None:
        self._request, self._data_set = request, data_set
        self._num_workers, self._skip_unreadable = num_workers, skip_unreadable
        self.batch_size = request.batch_size
        self._kept = KeptMaps[Passed](request.keep_gib * 2**30)
        self._device = choose_device(request.device or device, "--device")
        self._of_layers: dict[str | None, Network] = {}
        options = request.refine_options
        self._refinement = Refinement.named(request.refine, options) if request.refine else None
        self._classifier: tuple[Network, torch.Tensor] | None = None

    def of_layer(self, layer: str | None) -> Network:
        """The network whose descriptors are the output of a layer; None: its last feature map."""
        if layer not in self._of_layers:
            request = self._request
            self._of_layers[layer] = self._over(
                build_backbone(request.backbone, request.weights, layer, request.input_size)
            )
        return self._of_layers[layer]

    def classifier(self) -> tuple[Network, torch.Tensor]:
        """The whole classifier, whose maps are of its classes, and its linear layer's bias."""
        if self._classifier is None:
            request = self._request
            backbone = build_classifier(request.backbone, request.weights, request.input_size)
            maps = backbone.model
            assert isinstance(maps, ClassMaps)
            self._classifier = self._over(backbone), maps.bias.detach()
        return self._classifier

    def _over(self, backbone: Backbone) -> Network:
        over = NetworkPass(
            *(backbone, self._data_set, self._device),
            num_workers=self._num_workers,
            skip_unreadable=self._skip_unreadable,
            kept=self._kept,
            shared=self._request.shared,
            refinement=self._refinement,
        )
        versions = {"wend": __version__, "torch": torch.__version__, "pillow": version("pillow")}
        settings = {**backbone.settings, "batch_size": self.batch_size, "versions": versions}
        refined = self._refinement.settings if self._refinement else {}
        return Network(over, settings | refined)
