"""Importing this makes PyTorch know torchvision's operators, RoI align among them."""

import torchvision  # noqa: F401
