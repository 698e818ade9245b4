"""A method of :mod:`wend.localize.methods` over a data set, batch by batch, in any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from wend.errors import InputError
from wend.localize import image_run
from wend.localize.boxes import NOTHING_FOUND, FoundBox, Refine
from wend.localize.found import Boxes
from wend.localize.methods import ImageMethod
from wend.localize.network_pass import NetworkPass
from wend.localize.patches.graph import separation
from wend.parts import Parts
from wend.user_code import own_errors


@dataclass(frozen=True)
class PatchOptions:
    """The options of a run.

    Attributes:
        name, method: of the method.
        parameters: its keyword arguments.
        batch_size: images at a time, at least 1.
        number: boxes per image at most, at least 1.
    """

    name: str
    method: ImageMethod
    parameters: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    number: int = 1


def boxes_of_maps(
    maps: Tensor, options: PatchOptions, refine: Sequence[Refine | None] | None = None
) -> list[Boxes]:
    """The boxes of each image, of its descriptors.

    Args:
        maps: (N, C, h, w).
        refine: of each image, what refines its masks by its colours; left out: nothing does.

    Returns:
        For each image 1 to ``number`` boxes, best first; :data:`NOTHING_FOUND` alone where the
        method marks nothing, or only what is as the rest (score 0).

    Raises:
        InputError: the method returns something else than masks of the grid. UserCodeError: it is
            the user's own, and failed.
    """
    shape = int(maps.shape[2]), int(maps.shape[3])
    rows = maps.flatten(2).transpose(1, 2).float().cpu().numpy()
    return [
        _boxes_of(np.array(descriptors, order="C"), shape, options, each)
        for descriptors, each in zip(rows, refine or [None] * len(rows), strict=True)
    ]


def _boxes_of(
    descriptors: np.ndarray, shape: tuple[int, int], options: PatchOptions, refine: Refine | None
) -> Boxes:
    with own_errors(options.method, f"--method {options.name} failed"):
        returned = options.method(descriptors, shape, **options.parameters)
    if not isinstance(returned, list | tuple):
        raise InputError(
            f"--method {options.name}: expected a list of masks, got {type(returned).__name__}"
        )
    masks = [_checked(mask, shape, options.name) for mask in returned]
    scores = [separation(descriptors, mask.ravel()) for mask in masks]
    scored = [each for each in zip(masks, scores, strict=True) if each[1] > 0]
    if not scored:
        return (NOTHING_FOUND,)
    scored = sorted(scored, key=lambda each: -each[1])[: options.number]
    if refine is None:
        return tuple(FoundBox(_box(mask), score) for mask, score in scored)
    refined = refine(np.stack([mask for mask, _ in scored]) * 2.0 - 1.0)
    return tuple(
        FoundBox(_box(mask if finer is None else finer), score, unrefined=finer is None)
        for (mask, score), finer in zip(scored, refined, strict=True)
    )


def _checked(mask: object, shape: tuple[int, int], name: str) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        if mask.dtype == bool and mask.shape == shape and mask.any():
            return mask
        kind = f"{mask.dtype} {mask.shape}{'' if mask.any() else ', which is empty'}"
    else:
        kind = type(mask).__name__
    raise InputError(
        f"--method {name}: expected masks of bool {shape} with at least one patch, got {kind}"
    )


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """The box of a mask in fractions of the image: the borders of its outermost patches."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )


def localize(network: NetworkPass, parts: Parts, options: PatchOptions) -> str:
    """Find the boxes of this process's share of the images; ``parts`` notes them.

    Returns:
        The empty string: no shard waits for another.

    Raises:
        InputError: an image cannot be read (unless skipped), or descriptors are not finite.
    """
    return image_run.localize(
        network,
        parts,
        options.name,
        options.batch_size,
        lambda _, maps, refine: boxes_of_maps(maps, options, refine),
    )
