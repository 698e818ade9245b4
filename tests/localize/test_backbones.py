"""Backbones from local files: what is loaded, what is refused, which map comes out."""

import pytest
import torch
import torchvision

from wend.errors import InputError
from wend.localize.backbones import build_backbone, to_maps


@pytest.fixture(scope="session")
def resnet():
    """A torchvision ResNet-18 with random weights."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18(num_classes=7).eval()


@pytest.fixture
def weights(resnet, tmp_path):
    def save(change=lambda state: None):
        state = dict(resnet.state_dict())
        change(state)
        torch.save({"state_dict": state}, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return save


def trunk(resnet, images):
    """The last feature map, written out."""
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
    return resnet.layer4(resnet.layer3(resnet.layer2(resnet.layer1(x))))


@torch.no_grad()
@pytest.mark.parametrize("name", ["torchvision:resnet18", "timm:resnet18"])
def test_the_last_map_is_the_networks_own_whatever_its_classifier(resnet, weights, name):
    """timm's and torchvision's ResNet-18 have the same weights under the same names."""
    if name.startswith("timm"):
        pytest.importorskip("timm")
    images = torch.randn(2, 3, 96, 96)
    for change in (lambda s: None, lambda s: (s.pop("fc.weight"), s.pop("fc.bias"))):
        built = build_backbone(name, weights(change), input_size=96)
        torch.testing.assert_close(built.model(images), trunk(resnet, images))
        assert built.preprocessing.crop == 96
        assert built.settings["backbone"] == name


@torch.no_grad()
def test_a_layers_output_is_taken_before_the_next_module_changes_it(resnet, weights):
    images = torch.randn(1, 3, 64, 64)
    built = build_backbone("torchvision:resnet18", weights(), "bn1", 64)
    torch.testing.assert_close(built.model(images), resnet.bn1(resnet.conv1(images)))
    assert built.model(images).min() < 0  # relu, in place, follows


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "channels", "side"),
    [
        ("torchvision:squeezenet1_1", 512, 3),  # 64 -> 31 -> 15 -> 7 -> 3, without padding
        ("torchvision:mnasnet0_5", 1280, 2),
        ("timm:vit_tiny_patch16_224", 192, 14),
        ("timm:mobilenetv3_small_050", 288, 2),
    ],
)
def test_maps_come_channels_first_of_any_architecture(name, channels, side, tmp_path):
    package, model = name.split(":")
    library = torchvision.models if package == "torchvision" else pytest.importorskip("timm")
    create = library.get_model if package == "torchvision" else library.create_model
    network = create(model, **({"weights": None} if package == "torchvision" else {}))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    built = build_backbone(name, tmp_path / "w.pth", input_size=None if side == 14 else 64)
    size = built.preprocessing.crop
    assert built.model(torch.zeros(2, 3, size, size)).shape == (2, channels, side, side)


def test_tokens_and_channels_last_become_maps_in_reading_order():
    maps = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    tokens = torch.cat([torch.zeros(2, 2, 3), maps.flatten(2).transpose(1, 2)], 1)
    assert to_maps(maps, "x") is maps
    torch.testing.assert_close(to_maps(tokens, "x"), maps)
    torch.testing.assert_close(to_maps((None, maps.permute(0, 2, 3, 1)), "x"), maps)
    with pytest.raises(InputError, match=r"--layer x: its output is \(2, 3\), expected maps"):
        to_maps(torch.zeros(2, 3), "x")


def drop(name):
    return lambda state: state.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("layer4.1.bn2.weight"), r"1 missing in the file \(layer4\.1\.bn2\.weight\)"),
        (lambda s: s.update({"x.y": torch.zeros(1)}), r"1 not in the model \(x\.y\)"),
        (lambda s: s.update({"conv1.weight": torch.zeros(1)}), r"1 of another shape \(conv1\.weig"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, change, message):
    expected = rf"not a checkpoint of torchvision:resnet18: \d+ of .*; {message}"
    with pytest.raises(InputError, match=expected):
        build_backbone("torchvision:resnet18", weights(change), input_size=32)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, "expected timm:<model> or torchvision:<model>"),
        ("torchvision:resnet", {}, r"no such model; near: .*resnet101"),
        ("torchvision:fcos_resnet50_fpn", {}, "no such model"),
        ("torchvision:resnet18", {"layer": "layer9"}, "no such module. Did you mean 'layer4'"),
        ("torchvision:resnet18", {"input_size": 32, "layer": "fc"}, r"its output is \(1, 1000\)"),
        ("timm:resnet18", {"layer": "keys"}, "has no attention between all of an image's patches"),
        ("torchvision:resnet18", {"layer": "keys"}, "only of timm's vision transformers"),
        ("torchvision:squeezenet1_1", {"input_size": 4}, "does not take 4x4 pixels"),
    ],
)
def test_bad_names_layers_and_sizes_are_errors_that_help(weights, name, options, message):
    if name.startswith("timm"):
        pytest.importorskip("timm")
    file = weights()
    if "squeezenet" in name:
        from torchvision.models import squeezenet1_1

        torch.save(squeezenet1_1().state_dict(), file)
    with pytest.raises(InputError, match=message):
        build_backbone(name, file, **options)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """timm's smallest vision transformer with random weights, and their file."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224").eval()
    file = tmp_path_factory.mktemp("vit") / "vit.pth"
    torch.save(network.state_dict(), file)
    return network, file


@torch.no_grad()
@pytest.mark.parametrize(("layer", "part"), [("queries", 0), ("keys", 1), ("values", 2)])
def test_keys_of_the_last_attention_are_rows_of_its_own_projection(transformer, layer, part):
    network, file = transformer
    built = build_backbone("timm:vit_tiny_patch16_224", file, layer)
    images = torch.rand(2, 3, 224, 224)
    tokens = network._pos_embed(network.patch_embed(images))
    for block in network.blocks[:-1]:
        tokens = block(tokens)
    last = network.blocks[-1]
    rows = slice(part * 192, (part + 1) * 192)
    weight, bias = last.attn.qkv.weight[rows], last.attn.qkv.bias[rows]
    expected = (last.norm1(tokens) @ weight.T + bias)[:, 1:]  # without the class token
    maps = built.model(images)
    torch.testing.assert_close(maps.flatten(2).transpose(1, 2), expected)


def test_a_transformer_takes_any_multiple_of_its_patch(transformer):
    _, file = transformer
    built = build_backbone("timm:vit_tiny_patch16_224", file, input_size=96)
    assert built.model(torch.zeros(1, 3, 96, 96)).shape == (1, 192, 6, 6)
    with pytest.raises(InputError, match="does not take 225x225 pixels"):
        build_backbone("timm:vit_tiny_patch16_224", file, input_size=225)
