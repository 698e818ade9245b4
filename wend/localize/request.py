"""What ``wend pseudo-boxes`` is asked for: a method with its options, and a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BORDER, DDT, CAM, CONTRAST = "border", "ddt", "cam", "contrast"
BATCH_SIZE, KEEP_GIB = 32, 2.0


@dataclass(frozen=True)
class Request:
    """A method and its options; None: the method's default.

    Attributes:
        method: one of those above, of :data:`wend.localize.methods.METHODS`, or ./file.py:name.
        number: boxes per image at most, at least 1.
        options: of ``--option``, as text.
        side: of the border prior, in pixels.
        group, sign, upsampling: of DDT.
        cam_class: of class activation maps.
        layer: of the network, whose output are the descriptors.
    """

    method: str
    number: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    side: int | None = None
    group: str | None = None
    sign: str | None = None
    upsampling: str | None = None
    cam_class: str | None = None
    layer: str | None = None


@dataclass(frozen=True)
class NetworkRequest:
    """The network that methods look at images with.

    Attributes:
        backbone: "timm:<model>" or "torchvision:<model>".
        weights: a local checkpoint, or "pretrained".
        input_size: side in pixels that images are squashed to; None: 448, or its own.
        device: its name; None: a GPU if there is one.
        batch_size: images at a time.
        keep_gib: memory for maps that are looked at again.
        shared: whether several methods look at its maps.
        refine: what refines maps and masks by the image's colours, one of
            :data:`wend.localize.refine.refinement.REFINEMENTS` or ./file.py:name; None: nothing.
        refine_options: its options, as text.
    """

    backbone: str
    weights: str
    input_size: int | None = None
    device: str | None = None
    batch_size: int = BATCH_SIZE
    keep_gib: float = KEEP_GIB
    shared: bool = False
    refine: str | None = None
    refine_options: Mapping[str, str] = field(default_factory=dict)
