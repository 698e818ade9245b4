"""Parts of a network that are not trained."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn
from torchvision.ops import FrozenBatchNorm2d

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def _frozen(norm: nn.Module) -> nn.Module:
    """A batch norm whose statistics and affine parameters are constants."""
    if type(norm) not in _BATCH_NORMS:  # timm's, with an activation inside
        from timm.layers import freeze_batch_norm_2d

        return freeze_batch_norm_2d(norm)
    frozen = FrozenBatchNorm2d(norm.num_features, norm.eps).to(norm.running_mean.device)
    frozen.load_state_dict(norm.state_dict(), strict=False)  # it may have no weight and bias
    return frozen


def freeze_norms(network: nn.Module, names: Collection[str] | None = None) -> None:
    """Make batch norms frozen ones, in place; their weights become buffers of the same names.

    Args:
        network: the network that holds them.
        names: names of parameters; only norms whose weight is among them. None: all norms.
    """
    for path, module in list(network.named_modules()):
        if isinstance(module, _BATCH_NORMS) and (names is None or f"{path}.weight" in names):
            parent, _, child = path.rpartition(".")
            setattr(network.get_submodule(parent), child, _frozen(module))


def freeze(network: nn.Module, names: Collection[str]) -> None:
    """Take parameters out of training, in place, and with those of a batch norm its statistics.

    Args:
        network: the network that holds them.
        names: names of the parameters.
    """
    for name, parameter in network.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    freeze_norms(network, names)
