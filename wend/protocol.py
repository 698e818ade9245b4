"""Evaluation protocols as data: what a number means is a named, recorded object.

The field's papers score in different frames, and the same boxes differ by 5 points between them
(``docs/protocols.md``). A protocol is therefore never implied: it is chosen by name and written
beside every number.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from wend.boxes import clip_boxes, resize_and_crop
from wend.errors import InputError

AVERAGES = ("image", "class")


@dataclass(frozen=True)
class EvalProtocol:
    """How boxes are compared and hits are averaged.

    Attributes:
        name: what the protocol is called in configs, files and tables.
        resize, crop: the frame that truth and detections are taken to and cut at: the image
            squashed to ``resize``², its centre ``crop``² (pixels); None for original pixels.
        iou_threshold: a box is correct if its IoU with any true box of the image exceeds this, in
            (0, 1). IoU is continuous (no "+1" pixel).
        strict: ``>`` (True) or ``>=`` (False) the threshold.
        average: "image": mean over images; "class": mean over classes of the mean over the class's
            images (classes without an image do not count).
        source: whose arithmetic it is.
    """

    name: str
    resize: int | None = None
    crop: int | None = None
    iou_threshold: float = 0.5
    strict: bool = True
    average: str = "image"
    source: str = ""

    def __post_init__(self) -> None:
        if (self.resize is None) != (self.crop is None):
            raise InputError(f"protocol {self.name}: resize and crop are both given or both None")
        if not 0 < self.iou_threshold < 1:
            raise InputError(
                f"protocol {self.name}: iou_threshold must be in (0, 1), got {self.iou_threshold}"
            )
        if self.average not in AVERAGES:
            raise InputError(
                f"protocol {self.name}: average must be one of {AVERAGES}, got {self.average!r}"
            )

    def to_frame(self, boxes: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> np.ndarray:
        """Boxes (N, 4) in original pixels of images of sizes (N,) to the protocol's frame."""
        if self.resize is None:
            return boxes
        frame = resize_and_crop(widths, heights, self.resize, self.crop)
        return clip_boxes(frame.to_frame(boxes), self.crop, self.crop)

    def is_hit(self, iou: np.ndarray) -> np.ndarray:
        """Whether each IoU counts as correct."""
        return iou > self.iou_threshold if self.strict else iou >= self.iou_threshold

    def to_dict(self) -> dict:
        """All fields, for ``metrics.json``."""
        return asdict(self)

    def describe(self) -> str:
        """One line that says what the numbers mean."""
        frame = (
            "original pixels"
            if self.resize is None
            else f"{self.resize}x{self.resize} squash, centre crop {self.crop}, boxes clipped to it"
        )
        sign = ">" if self.strict else ">="
        over = {"image": "mean over images", "class": "mean of per-class accuracies"}[self.average]
        return f"{self.name}: {frame}; IoU {sign} {self.iou_threshold:g}; {over}"


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        EvalProtocol(
            "psol-crop224",
            resize=256,
            crop=224,
            average="class",
            source="PSOL ddecfce PSOL_inference.py:141-216; C2AM e6a46c9 inference_*.py",
        ),
        EvalProtocol("original", source="original pixels, every image counted once"),
    )
}


def get_protocol(name: str) -> EvalProtocol:
    """The preset of that name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if name not in PROTOCOLS:
        raise InputError(f"unknown evaluation protocol {name!r}; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
