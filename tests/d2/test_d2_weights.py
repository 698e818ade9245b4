import pickle

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.modeling.backbone.resnet import BasicStem

import wend.d2  # noqa: F401  (registers detectors)
from wend.d2.checkpointer import WENDCheckpointer

pytestmark = pytest.mark.detectron2


class Stem(nn.Module):
    """The first convolution of Detectron2's ResNet under a detector's names."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.stem = BasicStem(norm="FrozenBN")
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("blobs", [False, True])
def test_caffe2s_pickle_is_loaded_by_detectron2s_guesses(tmp_path, blobs):
    """As MSRA's R-50.pkl: written by Python 2, other names, momenta beside the weights."""
    arrays = {
        "conv1_w": np.random.default_rng(0).random((64, 3, 7, 7)).astype(np.float32),
        "res_conv1_bn_s": np.arange(64, dtype=np.float32),
        "res_conv1_bn_b": np.arange(64, dtype=np.float32) - 9,
        "conv1_w_momentum": np.zeros(3, np.float32),
    }
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps({"blobs": arrays} if blobs else arrays, 2))
    model = Stem()
    WENDCheckpointer(model).resume_or_load(str(tmp_path / "R-50.pkl"), resume=False)
    conv = model.backbone.stem.conv1
    # Caffe2's images are BGR as Detectron2's models: nothing is turned round
    assert torch.equal(conv.weight, torch.from_numpy(arrays["conv1_w"]))
    assert torch.equal(conv.norm.weight, torch.arange(64.0))
    assert torch.equal(conv.norm.bias, torch.arange(64.0) - 9)
