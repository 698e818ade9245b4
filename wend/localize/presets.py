"""Ways to boxes that look at images differently, to be compared and fused; each as options.

``wend auto`` takes one, or compares some; ``wend pseudo-boxes --method auto`` fuses several.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A method of ``wend pseudo-boxes`` with its options.

    Attributes:
        options: names of options -> values, as of :class:`wend.localize.request.Request`.
        networks: beginnings of the networks that it is for, "" for any; None where it needs none.
    """

    options: Mapping[str, Any]
    networks: str | None = ""

    @property
    def words(self) -> tuple[str, ...]:
        """As on a command line."""
        return tuple(word for key, value in self.options.items() for word in (f"--{key}", value))

    @property
    def needs_network(self) -> bool:
        """Whether it needs a network."""
        return self.networks is not None

    @property
    def needs(self) -> str:
        """What it needs, in words."""
        return f"networks {self.networks}..." if self.networks else "any network"

    def allows(self, network: str) -> bool:
        """Whether a network has what it needs; an empty name: there is none."""
        return self.networks is None or (bool(network) and network.startswith(self.networks))


_DDT = {"method": "ddt", "group": "all", "sign": "border", "upsampling": "bilinear"}
FINE_OF = "timm:tf_efficientnet_lite"  # the networks that have ddt-fine's layer
PRESETS: dict[str, Preset] = {
    "ddt": Preset(_DDT),
    "ddt-fine": Preset({**_DDT, "layer": "blocks.4"}, FINE_OF),  # maps of twice the side
    "border": Preset({"method": "border"}, None),
    "contrast": Preset({"method": "contrast"}),
    "token-cut": Preset({"method": "token-cut"}),
    "auto": Preset({"method": "auto"}),
}
COMPARED = ("ddt", "ddt-fine", "border")  # by wend auto --method agree
FUSED = ("ddt", "contrast", "border")  # by --method auto
