"""wend.modeling.backbones.small_cnn: names, channels and strides are what the heads build on."""

import pytest
import torch

from wend.errors import InputError
from wend.modeling.backbones.small_cnn import SmallCNN


@pytest.mark.parametrize("side", [56, 57])
def test_every_stage_has_the_channels_and_stride_that_it_says(side):
    network = SmallCNN((8, 16, 64)).eval()
    features = network(torch.zeros(2, 3, side, side))
    assert list(features) == list(network.channels) == list(network.strides)
    for name, feature in features.items():
        cells = -(-side // network.strides[name])  # rounded up
        assert feature.shape == (2, network.channels[name], cells, cells)
    assert list(network.strides.values()) == [2, 4, 8]


def test_parameter_count_by_hand():
    # stage of a -> b channels: 9ab + 9bb weights and two batch norms of 2b; 3 -> 32 -> 32
    expected = 9 * 3 * 32 + 9 * 32 * 32 + 4 * 32
    assert sum(p.numel() for p in SmallCNN((32,)).parameters()) == expected


@pytest.mark.parametrize("channels", [(), (0, 32), (32, 33)])
def test_channels_that_the_heads_cannot_use_are_refused(channels):
    with pytest.raises(InputError, match=r"WEND\.SMALL_CNN\.CHANNELS"):
        SmallCNN(channels)
