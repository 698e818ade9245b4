"""Detectors as one function of tensors: a batch of crops to the same number of boxes per image.

Every engine has a class for each of its detectors that turns pixels into *candidates*: decoded
boxes with scores before the last suppression, K of them whatever the image shows. What the detector
then does with them (score threshold, suppression, how many are kept, clipping) are numbers, its
:class:`Choice`. Both together give the detector's own boxes.

Shape letters: N = images, K = candidates of an image, D = boxes that are kept at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wend.modeling.layers.box_choice import Choice, borders, chosen

Candidates = tuple[Tensor, Tensor]


class Constants(nn.Module):
    """Tensors that move with the module that holds them and are no weights; iterates over them."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        for index, tensor in enumerate(tensors):
            self.register_buffer(f"constant_{index}", tensor.clone(), False)

    def __iter__(self) -> Iterator[Tensor]:
        return self.buffers()


class CandidateDetector(nn.Module):
    """Pixels to candidates; a subclass implements :meth:`candidates`.

    Args:
        size: height and width of the crops in pixels.
        padded: height and width that they are padded to with zeros, below and to the right.
        pixel_mean, pixel_std: normalization, a number for each channel.
        bgr: whether the network was trained on blue, green, red.
        choice: what its detector does with the candidates.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        size: tuple[int, int],
        padded: tuple[int, int],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        bgr: bool,
        choice: Choice,
    ) -> None:
        super().__init__()
        self.size, self.padded, self.bgr, self.choice = size, padded, bgr, choice
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    def forward(self, pixels: Tensor) -> Candidates:
        """Candidates of each image, best first.

        Args:
            pixels: (N, 3, height, width) uint8 or float, 0..255; red, green, blue.

        Returns:
            Boxes (N, K, 4), xyxy in pixels of the crop, and scores (N, K); a score of 0 where an
            image has fewer candidates.
        """
        images = self.normalized(pixels)
        boxes, scores = self.candidates(images)
        return boxes.float(), scores.float()

    def normalized(self, pixels: Tensor) -> Tensor:
        """The network's input (N, 3, padded height, padded width)."""
        images = pixels.float()
        if self.bgr:
            images = images.flip(1)
        images = (images - self.pixel_mean) / self.pixel_std
        (height, width), (padded_height, padded_width) = self.size, self.padded
        if self.padded != self.size:
            images = F.pad(images, (0, padded_width - width, 0, padded_height - height))
        return images

    def candidates(self, images: Tensor) -> Candidates:
        """Boxes (N, K, 4) and scores (N, K) of normalized images, best first."""
        raise NotImplementedError


class ChosenBoxes(nn.Module):
    """A detector's own boxes: its candidates, and its choice among them.

    Args:
        detector: makes the candidates.
    """

    borders: Tensor

    def __init__(self, detector: CandidateDetector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("borders", borders([detector.size], detector.pixel_mean), False)

    def forward(self, pixels: Tensor) -> Candidates:
        """Boxes (N, D, 4) and scores (N, D), best first, then zeros; see the detector's."""
        boxes, scores = self.detector(pixels)
        batch = chosen(boxes, scores, self.detector.choice, borders=self.borders)
        return batch.boxes, batch.scores
