"""Files of backbones lack pyramids, which are new layers; they are initial weights all the same."""

import pytest
from fvcore.common.checkpoint import _IncompatibleKeys

from wend.errors import InputError
from wend.modeling.weights import check_loaded

BODY = "backbone.bottom_up.blocks.0.attn.qkv.weight"


def check(missing):
    names = [BODY, "backbone.bottom_up.pos_embed", *missing]
    check_loaded("x.pth", names, _IncompatibleKeys(missing, [], []), whole=False)


@pytest.mark.parametrize("layer", ["fpn_lateral2", "simple_fpn.levels.0.0", "top_block.p6"])
def test_a_file_may_lack_a_pyramid(layer):
    check([f"backbone.{layer}.weight"])


def test_a_file_may_not_lack_a_part_of_the_backbone():
    with pytest.raises(InputError, match="does not fit the backbone"):
        check(["backbone.bottom_up.blocks.1.attn.qkv.weight"])
