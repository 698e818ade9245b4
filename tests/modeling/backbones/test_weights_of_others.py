"""Weight files of others give the features that the others' networks have."""

import logging

import pytest
import torch
from engine_runs import without_memory
from fvcore.common.checkpoint import Checkpointer
from networks import Detector, make, make_meta, randomize
from torch import nn
from torchvision import models

from wend.errors import InputError
from wend.modeling.weights import CheckedLoading
from wend.pretrained.efficientnet_names import efficientnet_pytorch_to_timm


class FileCheckpointer(CheckedLoading, Checkpointer):
    """As the engines mix it."""


def _load(tmp_path, content, body, name="file.pth"):
    torch.save(content, tmp_path / name)
    FileCheckpointer(Detector(body)).load(str(tmp_path / name))
    return body.eval()


def _vgg16():
    network = nn.Module()  # the classifier would fill 0.5 GB; two of its weights stand for it
    network.features = models.vgg.make_layers(models.vgg.cfgs["D"])
    network.classifier = nn.Sequential(nn.Linear(2, 2))
    return network


NETWORKS = {  # torchvision's network and what is passed over of its file
    "densenet161": (lambda: models.densenet161(weights=None), "classifier (2)"),
    "vgg16": (_vgg16, "classifier (2)"),
    "googlenet": (
        lambda: models.googlenet(weights=None, transform_input=True, init_weights=False),
        # a convolution, its norm (4 weights), two linear layers
        "aux1 (9), aux2 (9), fc (2)",
    ),
    "inception_v3": (
        lambda: models.inception_v3(weights=None, transform_input=True, init_weights=False),
        "AuxLogits (12), fc (2)",  # two convolutions, their norms, a linear layer
    ),
}


def _last_map(name, network, images):
    """What torchvision's network hands to its pooling and classifier."""
    if hasattr(network, "features"):
        features = network.features(images)
        return features.relu() if name == "densenet161" else features
    seen = []
    network.avgpool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(images)
    return seen[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_torchvisions_file_gives_torchvisions_features(tmp_path, caplog, name):
    build, passed_over = NETWORKS[name]
    network = randomize(build()).eval()
    state = network.state_dict()
    if name == "densenet161":  # as in torchvision's file: names from before dots were forbidden
        state = {
            key.replace("norm1", "norm.1").replace("conv1", "conv.1")
            .replace("norm2", "norm.2").replace("conv2", "conv.2"): value
            for key, value in state.items()
        }  # fmt: skip
        assert "features.denseblock1.denselayer1.norm.1.weight" in state
    body = make_meta(name).to_empty(device="cpu")
    if hasattr(body, "transform"):
        body.transform = type(body.transform)()
    with caplog.at_level(logging.INFO, logger="wend"):
        _load(tmp_path, state, body)
    assert f"the backbone has no such part: {passed_over}\n" in caplog.text
    number = sum("num_batches_tracked" not in key for key in body.state_dict())
    assert f"loaded {number} of the model's {number + 2} weights" in caplog.text
    assert "2 missing in the file (head.weight, head.bias)" in caplog.text
    assert "not in the model" not in caplog.text
    loaded = body.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in network.state_dict().items() if k in loaded)
    if name == "inception_v3":  # padded otherwise: test_bodies compares its features
        return
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, theirs = body(images)["res5"], _last_map(name, network, images)
    assert theirs.shape == (1, body.channels["res5"], 2, 2)
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("model", "passed_over"),
    [
        ("test_resnet", "fc (2)"),
        ("test_convnext", "head (4)"),  # norm and linear layer; stages.0 is stages_0 in the body
        ("test_efficientnet", "bn2 (4), classifier (2), conv_head (1)"),
        ("test_vit", "head (2)"),  # its map lies behind the norm
    ],
)
def test_timms_file_gives_timms_features(tmp_path, caplog, model, passed_over):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    network = randomize(timm.create_model(model)).eval()
    body = make("timm", WEND__TIMM__MODEL=model)
    with caplog.at_level(logging.INFO, logger="wend"):
        _load(tmp_path, network.state_dict(), body)
    images = torch.randn(1, 3, *network.pretrained_cfg["input_size"][1:])
    with torch.no_grad():
        ours = list(body(images).values())[-1]
        norm = {"norm": True} if model == "test_vit" else {}
        theirs = network.forward_intermediates(images, intermediates_only=True, **norm)[-1]
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs)
    assert f"no such part: {passed_over}\n" in caplog.text


def test_frozen_norms_take_the_files_statistics(tmp_path):
    network = randomize(models.resnet18(weights=None)).eval()
    frozen = {"MODEL__BACKBONE__FREEZE_AT": 5, "MODEL__RESNETS__DEPTH": 18}
    body = _load(tmp_path, network.state_dict(), make("resnet", **frozen)).train()
    images = torch.randn(1, 3, 64, 64)
    network.avgpool, network.fc = nn.Identity(), nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(
            body(images)["res5"].flatten(1), network(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("file", "name", "entries"),
    [
        (models.resnet34, "resnet", {"MODEL__RESNETS__DEPTH": 18}),  # more blocks
        (models.resnet18, "resnet", {"MODEL__RESNETS__DEPTH": 34}),  # fewer
        (models.vgg19, "vgg16", {}),
        (models.vgg16_bn, "vgg16", {}),
        (models.googlenet, "inception_v3", {}),
        (models.resnet18, "timm", {"WEND__TIMM__MODEL": "resnet34"}),
    ],
)
def test_file_of_another_network_is_refused(tmp_path, file, name, entries):
    if name == "timm":
        pytest.importorskip("timm", reason="timm is not installed (extra 'classifier')")
    with without_memory():
        state = file(weights=None).state_dict()
    state = {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith("classifier")}
    body = make_meta(name, **entries).to_empty(device="cpu")
    with pytest.raises(InputError, match=r"(does not fit the backbone|not a checkpoint of this)"):
        _load(tmp_path, state, body)


def test_efficientnet_pytorchs_file_gives_its_features_in_timms_network(tmp_path, caplog):
    theirs = pytest.importorskip("efficientnet_pytorch").EfficientNet.from_name("efficientnet-b0")
    pytest.importorskip("timm")
    randomize(theirs.eval())
    with caplog.at_level(logging.INFO):
        body = make("timm", WEND__TIMM__MODEL="tf_efficientnet_b0")
        _load(tmp_path, theirs.state_dict(), body)
    # the last convolution, its norm and the classifier are behind the maps
    assert "passed over, as the backbone has no such part: _bn1 (4), _conv_head (1), _fc (2)" in (
        caplog.text
    )
    assert "2 missing in the file (head.weight, head.bias)" in caplog.text  # the detector's own
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps, endpoints = body(images), theirs.extract_endpoints(images)
    # their reductions 2 to 5 are the last maps of strides 4 to 32; the fifth is before their head
    for name, number in (("res2", 2), ("res3", 3), ("res4", 4), ("res5", 5)):
        torch.testing.assert_close(maps[name], endpoints[f"reduction_{number}"])


@pytest.mark.parametrize("model", ["b1", "b4", "b7"])
def test_every_name_of_an_efficientnet_is_one_of_timms_with_its_shape(model):
    efficientnet_pytorch = pytest.importorskip("efficientnet_pytorch")
    timm = pytest.importorskip("timm")
    with without_memory():
        theirs = efficientnet_pytorch.EfficientNet.from_name(f"efficientnet-{model}").state_dict()
        ours = timm.create_model(f"tf_efficientnet_{model}").state_dict()
    rename = efficientnet_pytorch_to_timm(ours)
    assert {rename(n): v.shape for n, v in theirs.items()} == {n: v.shape for n, v in ours.items()}


def test_efficientnets_names_of_blocks_that_the_network_lacks_stay():
    rename = efficientnet_pytorch_to_timm(["blocks.0.0.conv_dw.weight"])
    assert rename("_blocks.0._project_conv.weight") == "blocks.0.0.conv_pw.weight"
    assert rename("_blocks.1._project_conv.weight") == "_blocks.1._project_conv.weight"
    assert rename("layer1.0.conv1.weight") == "layer1.0.conv1.weight"
