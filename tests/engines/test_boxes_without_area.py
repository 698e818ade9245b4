"""A mapper's box without an area: an R-CNN would learn infinite losses from it."""

import pytest
import torch
from engine_runs import ONE_ANCHOR, build, config, losses, random_crops

from wend.errors import InputError

NAMES = {"detectron2": ["rcnn", "cln"], "torchvision": ["rcnn", "fcos"]}
FLAT = {"a line": [20.0, 20.0, 20.0, 40.0], "no number": [20.0, 20.0, float("nan"), 40.0]}


@pytest.mark.parametrize("flat", FLAT.values(), ids=FLAT)
@pytest.mark.parametrize("number", [0, 1])
def test_it_is_refused_by_the_detectors_that_cannot_learn_it(engine, number, flat):
    name = NAMES[engine][number]
    model = build(engine, config(engine, name, ONE_ANCHOR if name == "cln" else {}))
    crops = random_crops(3, (1, 0, 2))
    crops[2][1][1] = torch.tensor(flat)
    with pytest.raises(InputError, match=r"image b: expected boxes to learn with x0 < x1 and y0"):
        losses(engine, model, crops, ["a", "of none", "b"])
    with pytest.raises(InputError, match=r"image 2 of the batch: .* got \[20.0, 20.0, "):
        losses(engine, model, crops)
