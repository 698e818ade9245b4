"""What the tests of the backbones share: bodies, configs, and weights that are not the initial."""

import torch
from engine_runs import without_memory
from torch import nn

from wend.modeling.backbones.build import build_body
from wend.tv.config import get_cfg

TORCHVISION = ("densenet161", "vgg16", "googlenet", "inception_v3")


def body_config(**entries):
    """The torchvision engine's defaults, nothing frozen; ``MODEL__RESNETS__DEPTH=18`` and so on."""
    cfg = get_cfg()
    cfg.MODEL.RESNETS.NORM = "BN"
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.merge_from_list([x for k, v in entries.items() for x in (k.replace("__", "."), v)])
    return cfg


def make(name, **entries):
    """A body that draws its weights."""
    torch.manual_seed(0)
    return build_body(name, body_config(**entries))


def make_meta(name, **entries):
    """A body without memory."""
    with without_memory():
        return make(name, **entries)


def randomize(network, seed=1):
    """Other weights, also of the norms, that keep activations near 1 at any depth."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:  # norms and biases
                low = 0.0 if name.endswith(("bias", "running_mean")) else 0.5
                value.copy_(low + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.is_floating_point():
                fan_in = value[0].numel()
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
    return network


class Detector(nn.Module):
    """Holds a body as a detector of the torchvision engine does."""

    def __init__(self, body):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.body = body
        self.head = nn.Linear(2, 1)
