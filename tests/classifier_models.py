"""Small classifiers with random weights, for the tests of classifiers and wend classify."""

import pytest
import torch

EFFICIENTNET = "efficientnet_pytorch is not installed (extra 'classifier')"
TIMM = "timm is not installed (extra 'classifier')"


def efficientnet(num_classes=6, seed=0):
    package = pytest.importorskip("efficientnet_pytorch", reason=EFFICIENTNET)
    torch.manual_seed(seed)
    return package.EfficientNet.from_name("efficientnet-b0", num_classes=num_classes, image_size=64)
