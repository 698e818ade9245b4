"""What the modules of file formats hand around."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

# pixels (N, 3, side, side) uint8 -> boxes (N, K, 4) and scores (N, K), float32
Run = Callable[[np.ndarray], tuple[Tensor, Tensor]]
