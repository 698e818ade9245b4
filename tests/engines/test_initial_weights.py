"""MODEL.WEIGHTS: a ResNet50 of either library starts either engine's detectors."""

import logging
import pickle

import pytest
import torch
from engine_runs import CONFIGS, build, file_config
from torchvision.models import resnet18, resnet50

from wend.errors import InputError
from wend.modeling.weight_names import torchvision_to_detectron2

# A detector of each engine, and what keeps its head small
SMALL = {
    "detectron2": ("fcos_R50", "WEND.FCOS.CONV_DIM", "32"),
    "torchvision": ("faster_rcnn_R50", "MODEL.ROI_BOX_HEAD.FC_DIM", "8"),
}


def _model(engine, name=None):
    default, *small = SMALL[engine]
    path = CONFIGS / "CUB" / f"{name or default}.yaml"
    return build(engine, file_config(engine, path, ["MODEL.DEVICE", "cpu", *small])).eval()


def _load(engine, model, path):
    if engine == "detectron2":
        from wend.d2.checkpointer import WENDCheckpointer as Checkpointer
    else:
        from wend.tv.engine import TVCheckpointer as Checkpointer
    Checkpointer(model).resume_or_load(str(path), resume=False)


@pytest.fixture(scope="module")
def source():
    """A ResNet50 whose norms, too, differ from their initial values."""
    model = resnet50(weights=None).eval()
    generator = torch.Generator().manual_seed(4)
    for name, value in model.state_dict().items():
        if value.ndim == 1 and value.is_floating_point():
            low = 0.0 if name.endswith(("bias", "running_mean")) else 0.5
            value.copy_(low + 0.2 * torch.rand(value.shape, generator=generator))
    return model


def _file(folder, source, kind):
    """The weights as torchvision saves them, or as Detectron2's pickle holds them."""
    state = source.state_dict()
    if kind == "torchvision":
        torch.save(state, folder / "resnet50.pth")
        return folder / "resnet50.pth"
    arrays = {
        torchvision_to_detectron2(name): value.numpy()
        for name, value in state.items()
        if not name.endswith("num_batches_tracked") and not name.startswith("fc.")
    }
    arrays["stem.fc.weight"] = arrays["stem.conv1.weight"]  # a classifier is passed over
    content = {"model": arrays, "__author__": "test", "matching_heuristics": True}
    (folder / "R-50.pkl").write_bytes(pickle.dumps(content))
    return folder / "R-50.pkl"


@pytest.mark.parametrize("kind", ["torchvision", "detectron2"])
@pytest.mark.parametrize(
    ("engine", "name"),
    [("detectron2", None), ("detectron2", "fcos_R50_FPN_we"), ("torchvision", None)],
)
def test_features_are_the_sources(engine, name, kind, source, tmp_path):
    model = _model(engine, name)
    _load(engine, model, _file(tmp_path, source, kind))
    trunk = model.backbone
    for wrapping in ("bottom_up", "body"):
        trunk = getattr(trunk, wrapping, trunk)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours = trunk(images)["res5"]
        x = source.maxpool(source.relu(source.bn1(source.conv1(images))))
        theirs = source.layer4(source.layer3(source.layer2(source.layer1(x))))
    assert ours.shape == (1, 2048, 2, 2)
    assert theirs.isfinite().all()
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * theirs.std().item())


def test_the_head_keeps_its_initial_weights(engine, source, tmp_path, caplog):
    model = _model(engine)
    heads = {n: p for n, p in model.named_parameters() if not n.startswith("backbone.")}
    before = {name: parameter.clone() for name, parameter in heads.items()}
    with caplog.at_level(logging.INFO, "wend"):
        _load(engine, model, _file(tmp_path, source, "torchvision"))
    assert all(torch.equal(before[name], parameter) for name, parameter in heads.items())
    # what was not in the file is said, and that the ImageNet classifier is of no use
    assert len(before) > 4
    assert "passed over, as the backbone has no such part: fc (2)\n" in caplog.text
    assert "missing in the file (" in caplog.text
    assert "not in the model" not in caplog.text


def test_weights_of_another_depth_are_refused(engine, tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(InputError, match=r"resnet18\.pth: does not fit the backbone: .*RESNETS"):
        _load(engine, _model(engine), tmp_path / "resnet18.pth")
