"""Maps and masks refined by the image's colours: the step between them and their boxes.

A refinement is a function from a small RGB picture of the image, (S, S, 3) uint8, and the log-odds
(K, S, S) of K objects to refined log-odds (K, S, S), positive where an object is. Its keyword-only
parameters are its options. One of your own is ``./file.py:function``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL.Image import Image, Resampling
from scipy import ndimage

from wend.errors import InputError
from wend.localize.boxes import Refine, resized
from wend.localize.methods import with_options
from wend.localize.refine.bilateral import bilateral
from wend.localize.refine.crf import crf
from wend.registry import FunctionRegistry
from wend.user_code import code_of_own, own_errors

SIDE = 56  # S: of the picture, to which the whole image is squashed; sums over all pairs cost S^4
LEAST_IOU = 0.5  # of a refined region with what it was before: CutLER's (maskcut.py:398)
RefinementFunction = Callable[..., np.ndarray]
REFINEMENTS: FunctionRegistry[RefinementFunction] = FunctionRegistry(
    "map refinement", ("picture", "log_odds")
)
REFINEMENTS.register("crf")(crf)
REFINEMENTS.register("bilateral")(bilateral)


@dataclass(frozen=True)
class Refinement:
    """A refinement with its options.

    Attributes:
        name, function: of the refinement.
        parameters: its keyword arguments.
    """

    name: str
    function: RefinementFunction
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def named(cls, name: str, options: Mapping[str, str]) -> Refinement:
        """The refinement of a name, with options as text.

        Raises:
            InputError: there is no such refinement or option, or a value is of another type.
        """
        function = REFINEMENTS.get(name)
        given = with_options(name, function, options, ("--refine", "--refine-option"))
        return cls(name, function, given)

    @property
    def settings(self) -> dict[str, Any]:
        """What boxes depend on, JSON values."""
        code = {f"refine_{key}": value for key, value in code_of_own(self.function).items()}
        named = {"refine": self.name, "refine_side": SIDE, "refine_options": self.parameters}
        return named | code

    def of(self, picture: np.ndarray) -> Refine:
        """What refines maps of the image that a picture (S, S, 3) is of."""
        return partial(self.masks, picture)

    def masks(self, picture: np.ndarray, values: np.ndarray) -> list[np.ndarray | None]:
        """The refined masks of K maps of an image, each (S, S) bool.

        Holes are filled, as the authors do, and regions that touch nothing of the map's own mask
        are left out.

        A map's log-odds are its values in units of their mean magnitude, so that a mask of -1 and 1
        has those that CutLER gives its masks, and resized bilinearly.

        Args:
            picture: (S, S, 3) uint8, RGB.
            values: (K, h, w), positive where an object is, not all 0.

        Returns:
            None for a map whose refined mask has an IoU below :data:`LEAST_IOU` with its own, as an
            empty one has: it is to stay as it is.

        Raises:
            InputError: the function returns something else than finite numbers (K, S, S).
        """
        odds = values / np.abs(values).mean((1, 2), keepdims=True)
        before = np.stack([resized(each, picture.shape[:2]) for each in odds.astype(np.float32)])
        with own_errors(self.function, f"--refine {self.name} failed"):
            returned = self.function(picture, before, **self.parameters)
        after = self._checked(returned, before.shape)
        return [_taken(own, refined) for own, refined in zip(before > 0, after > 0, strict=True)]

    def _checked(self, values: object, shape: tuple[int, ...]) -> np.ndarray:
        if isinstance(values, np.ndarray):
            is_number = values.dtype.kind in "fiu"
            if is_number and values.shape == shape and np.isfinite(values).all():
                return values
            kind = f"{values.dtype} {values.shape}"
            if is_number and values.shape == shape:
                kind += " with some that are not finite"
        else:
            kind = type(values).__name__
        raise InputError(f"--refine {self.name}: expected finite numbers {shape}, got {kind}")


def small_picture(image: Image) -> np.ndarray:
    """An image squashed to the picture (S, S, 3) uint8 that its maps are refined by."""
    return np.array(image.convert("RGB").resize((SIDE, SIDE), Resampling.BOX))


def _taken(own: np.ndarray, refined: np.ndarray) -> np.ndarray | None:
    """A refined mask (S, S) with its holes filled, without the parts that touch nothing of its own.

    None where it is too unlike its own.
    """
    labels, _ = ndimage.label(ndimage.binary_fill_holes(refined), np.ones((3, 3)))
    mask = np.isin(labels, np.setdiff1d(labels[own], 0))
    union = (mask | own).sum()
    return mask if (mask & own).sum() >= LEAST_IOU * union > 0 else None
