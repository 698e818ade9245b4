"""What the modules of file formats hand around."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

# pixels (N, 3, side, side) uint8 -> boxes (N, K, 4) and scores (N, K), float32
Run = Callable[[np.ndarray], tuple[Tensor, Tensor]]


def run_of(module: Callable[[Tensor], tuple[Tensor, Tensor]], device: str) -> Run:
    """A module of PyTorch's as a function of pixels.

    Args:
        module: on the device.
        device: gets the pixels; boxes and scores come back to the CPU.
    """

    @torch.inference_mode()
    def run(images: np.ndarray) -> tuple[Tensor, Tensor]:
        boxes, scores = module(torch.from_numpy(images).to(device))
        return boxes.cpu(), scores.cpu()

    return run
