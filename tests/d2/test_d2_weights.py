import logging
import pickle

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone, build_model
from detectron2.modeling.backbone.resnet import BasicStem
from engine_runs import CONFIGS

import wend.d2  # noqa: F401  (registers detectors)
from wend.config import add_wend_config, merge_config
from wend.d2.trainer import WENDCheckpointer
from wend.errors import InputError, MissingFileError


def _config(name="fcos_R50", *changes):
    cfg = get_cfg()
    add_wend_config(cfg)
    lean = ["MODEL.DEVICE", "cpu", "WEND.FCOS.CONV_DIM", "32"]
    merge_config(cfg, str(CONFIGS / "CUB" / f"{name}.yaml"), [*lean, *changes], "")
    return cfg


def _randomize(module):
    """Norms that differ from their initialization as well (convolutions' is random)."""
    generator = torch.Generator().manual_seed(4)
    for name, value in module.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            low = 0.0 if name.endswith(("bias", "running_mean")) else 0.5
            value.copy_(low + 0.2 * torch.rand(value.shape, generator=generator))
    return module


def _load(model, path):
    WENDCheckpointer(model).resume_or_load(str(path), resume=False)


@pytest.fixture(scope="module")
def resnet50():
    return _randomize(torchvision.models.resnet50(weights=None)).eval()


def test_torchvision_weights_give_torchvisions_features(resnet50, tmp_path):
    torch.save(resnet50.state_dict(), tmp_path / "resnet50.pth")
    model = build_model(_config()).eval()
    _load(model, tmp_path / "resnet50.pth")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = model.backbone(images)["res5"]
        x = resnet50.maxpool(resnet50.relu(resnet50.bn1(resnet50.conv1(images))))
        theirs = resnet50.layer4(resnet50.layer3(resnet50.layer2(resnet50.layer1(x))))
    assert ours.shape == (1, 2048, 2, 2)
    assert theirs.isfinite().all()
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.std().item())


@pytest.mark.parametrize("name", ["fcos_R50", "fcos_R50_FPN_we"])
def test_detectron2s_pickle_is_loaded_name_by_name(tmp_path, name):
    source = _randomize(build_backbone(_config("fcos_R50")))
    state = {key: value.numpy() for key, value in source.state_dict().items()}
    state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    state["stem.fc.weight"] = state["stem.conv1.weight"]  # a classifier is passed over
    content = {"model": state, "__author__": "test", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    model = build_model(_config(name))
    _load(model, tmp_path / "R-50.pkl")
    backbone = getattr(model.backbone, "bottom_up", model.backbone).state_dict()
    loaded = [key for key in backbone if not key.endswith("num_batches_tracked")]
    assert len(loaded) == 53 * 5  # 53 convolutions, each with a norm of four tensors
    for key in loaded:
        assert torch.equal(backbone[key], source.state_dict()[key]), key


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
    _load(model, tmp_path / "R-50.pkl")
    conv = model.backbone.stem.conv1
    # Caffe2's images are BGR as Detectron2's models: nothing is turned round
    assert torch.equal(conv.weight, torch.from_numpy(arrays["conv1_w"]))
    assert torch.equal(conv.norm.weight, torch.arange(64.0))
    assert torch.equal(conv.norm.bias, torch.arange(64.0) - 9)


def test_the_head_keeps_its_initial_weights(resnet50, tmp_path, caplog):
    torch.save(resnet50.state_dict(), tmp_path / "resnet50.pth")
    model = build_model(_config())
    before = {key: value.clone() for key, value in model.head.state_dict().items()}
    with caplog.at_level(logging.INFO, "wend"):
        _load(model, tmp_path / "resnet50.pth")
    assert all(torch.equal(before[key], value) for key, value in model.head.state_dict().items())
    # what was not in the file is said, and that the ImageNet classifier is of no use
    assert "passed over, as the backbone has no such part: fc (2)\n" in caplog.text
    assert "missing in the file (head.cls_subnet.0.weight" in caplog.text
    assert "not in the model" not in caplog.text


def test_weights_of_another_depth_are_refused(tmp_path):
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match=r"resnet18\.pth: does not fit the backbone: .*RESNETS"):
        _load(build_model(_config()), tmp_path / "resnet18.pth")


def test_file_in_which_nothing_fits_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "vgg.pth")
    with pytest.raises(InputError, match=r"vgg\.pth: .*1 not in the model \(features\.0\.weight\)"):
        _load(build_model(_config()), tmp_path / "vgg.pth")


def test_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(MissingFileError, match=r"no\.pth: there is no such file; config entry"):
        _load(build_model(_config()), tmp_path / "no.pth")
