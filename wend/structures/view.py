"""What of an image a detector sees: ``WEND.VIEW``, with ``WEND.RESIZE`` and ``WEND.CROP``.

In training all see a random ``crop``² of the image resized to ``resize``².
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from wend.errors import InputError
from wend.structures.frame import Frame, Part, fit_and_crop, fitted_part, resize_and_crop

CROP, SQUASH, PAD = VIEWS = ("crop", "squash", "pad")


@dataclass(frozen=True)
class View:
    """How images become a detector's square inputs.

    Attributes:
        kind: "crop", the paper's: squashed to ``resize``², tested on the centre ``crop``²;
            "squash": the same, tested on the whole square; "pad": tested on the whole square, too,
            in which the image is scaled to fit, its aspect kept, and padded around.
        resize, crop: sides in pixels.

    Raises:
        ValueError: there is no such kind, or the crop does not fit.
    """

    kind: str = CROP
    resize: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if self.kind not in VIEWS:
            raise ValueError(f"expected one of {', '.join(VIEWS)}, got {self.kind!r}")
        resize_and_crop(1, 1, self.resize, self.crop)

    @property
    def test_side(self) -> int:
        """Side in pixels of the square that a detector is tested on."""
        return self.crop if self.kind == CROP else self.resize

    @property
    def pads(self) -> bool:
        """Whether the aspect of images is kept, so that there is padding around them."""
        return self.kind == PAD

    @property
    def name(self) -> str:
        """What it is tested on, for records: "crop224-of-256", "squash256" or "pad256"."""
        if self.kind == CROP:
            return f"crop{self.crop}-of-{self.resize}"
        return f"{self.kind}{self.resize}"

    def part(self, width: int, height: int) -> Part:
        """Where an image of this size lies in the resized square."""
        if self.pads:
            return fitted_part(width, height, self.resize)
        return Part(0, 0, self.resize, self.resize)

    def test_frame(self, width: int, height: int, *, flip: bool = False) -> Frame:
        """The frame that an image of this size is tested in, perhaps mirrored left to right."""
        return self.frame(width, height, self.test_side, flip=flip)

    def frame(
        self,
        width: int,
        height: int,
        side: int,
        left: int | None = None,
        top: int | None = None,
        *,
        flip: bool = False,
        upside_down: bool = False,
    ) -> Frame:
        """The frame of a crop of ``side``²; see :func:`wend.structures.frame.resize_and_crop`."""
        make = fit_and_crop if self.pads else resize_and_crop
        return make(
            width,
            height,
            self.resize,
            side,
            left=left,
            top=top,
            flip=flip,
            upside_down=upside_down,
        )


_EXPLAINED = {
    CROP: "the centre {crop}x{crop} of images squashed to {resize}x{resize}",
    SQUASH: "whole images squashed to {resize}x{resize}",
    PAD: "whole images, their aspect kept, padded to {resize}x{resize}",
}


def describe_view(name: str) -> str:
    """A line on a view's name, such as ``pad256: whole images, ..., padded to 256x256``.

    Raises:
        InputError: no view has such a name.
    """
    match = re.fullmatch(r"crop([0-9]{1,6})-of-([0-9]{1,6})|(squash|pad)([0-9]{1,6})", name)
    if match is None:
        raise InputError(
            f"unknown view {name!r}; expected cropN-of-M, squashN or padN, such as pad256"
        )
    crop, resize, kind, side = match.groups()
    sides = {"crop": crop, "resize": resize or side}
    return f"{name}: {_EXPLAINED[kind or CROP].format(**sides)}"
