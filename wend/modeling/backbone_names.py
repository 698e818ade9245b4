"""``MODEL.BACKBONE.NAME`` -> the body and the pyramid above it."""

from __future__ import annotations

import re
from typing import NamedTuple

FPN, FPN_P6P7, SIMPLE = PYRAMIDS = ("fpn", "fpn_p6p7", "simple_fpn")


class BackboneName(NamedTuple):
    """The parts of a backbone's name.

    Attributes:
        body: a name of :data:`wend.modeling.backbones.build.BODIES`, or of Detectron2's own.
        pyramid: "fpn" (a level more by max pooling), "fpn_p6p7" (two more by convolutions),
            "simple_fpn" (all levels of one map), or empty: none.
    """

    body: str
    pyramid: str = ""


def parse_backbone_name(name: str) -> BackboneName:
    """The parts of ``build_<body>[_<pyramid>]_backbone``; another name is a body without one."""
    if name == "build_retinanet_resnet_fpn_backbone":  # Detectron2's name
        return BackboneName("resnet", FPN_P6P7)
    match = re.fullmatch(r"build_(\w+?)(?:_(fpn|fpn_p6p7|simple_fpn))?_backbone", name)
    return BackboneName(match[1], match[2] or "") if match else BackboneName(name)
