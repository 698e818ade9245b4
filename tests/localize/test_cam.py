"""Class activation maps: what a classifier says is their mean, and their boxes a second way."""

import numpy as np
import pytest
import torch
from localize_reference import slow_box

from wend.errors import InputError
from wend.localize.cam import boxes_of_cam, maps_of_classes
from wend.localize.classifiers import build_classifier, class_maps


@pytest.mark.parametrize("name", ["timm:resnet10t", "torchvision:mobilenet_v2"])
def test_the_maps_means_are_the_logits_of_a_classifier_of_any_number_of_classes(tmp_path, name):
    package, _, model_name = name.partition(":")
    torch.manual_seed(0)
    if package == "timm":
        timm = pytest.importorskip("timm", reason="timm is not installed")
        model = timm.create_model(model_name, num_classes=7)
    else:
        from torchvision.models import get_model

        model = get_model(model_name, weights=None, num_classes=7)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    backbone = build_classifier(name, str(tmp_path / "own.pth"), 96)
    images = torch.randn(3, 3, 96, 96)
    with torch.inference_mode():
        logits = model.eval()(images)
        maps = backbone.model(images)
    assert maps.shape[1] == 7
    again = maps.mean((2, 3)) + backbone.model.bias
    np.testing.assert_allclose(again.numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)
    predicted = maps_of_classes(maps, backbone.model.bias.detach(), None)
    for image, row in enumerate(logits.argmax(1).tolist()):
        np.testing.assert_array_equal(predicted[image], maps[image, row].numpy())
    labels = maps_of_classes(maps, backbone.model.bias.detach(), torch.tensor([6, 0, 2]))
    np.testing.assert_array_equal(labels[1], maps[1, 0].numpy())


def test_a_head_of_another_form_is_refused_and_named():
    from torchvision.models import get_model

    model = get_model("vgg11", weights=None, init_weights=False, num_classes=3).eval()
    with pytest.raises(InputError, match=r"vgg11 is no classifier whose head is global average .*"):
        class_maps("torchvision:vgg11", model, 64)


def test_a_checkpoint_without_its_classifier_is_refused(tmp_path):
    from torchvision.models import get_model

    state = get_model("mobilenet_v2", weights=None).state_dict()
    del state["classifier.1.weight"]
    torch.save(state, tmp_path / "body.pth")
    with pytest.raises(InputError, match=r"body\.pth: has no weights of the linear layer"):
        build_classifier("torchvision:mobilenet_v2", str(tmp_path / "body.pth"))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("from_minimum", [False, True])
def test_boxes_are_those_of_a_flood_fill(threshold, from_minimum):
    values = np.random.default_rng(3).normal(size=(9, 9)).astype(np.float32)
    given = {"threshold": threshold, "from_minimum": from_minimum}
    (box,) = boxes_of_cam(values, 9, **given)
    low = values.min() if from_minimum else 0.0
    top = values.max() - low
    expected, _ = slow_box(np.where(values - low > threshold * top, values - low, -1.0))
    np.testing.assert_allclose(box.box, expected, atol=1e-9)
    assert boxes_of_cam(-np.ones((4, 4), np.float32), 8)[0].whole_image
