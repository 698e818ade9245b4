"""What a subclass of BinaryFCOS may override, on either engine."""

import pytest
import torch
from engine_runs import build, config, detections, losses, random_crops

from wend.errors import InputError

TRAINING = {"detectron2": "label_anchors", "torchvision": "compute_loss"}
INFERENCE = {"detectron2": "inference_single_image", "torchvision": "postprocess_detections"}


def binary_fcos(engine):
    if engine == "detectron2":
        from wend.d2.fcos import BinaryFCOS
    else:
        from wend.tv.fcos import BinaryFCOS
    return BinaryFCOS


def never(*arguments):
    raise AssertionError


@pytest.mark.parametrize(
    ("names", "called"), [(TRAINING, "terms"), (INFERENCE, "predicted")], ids=["terms", "predicted"]
)
def test_a_method_that_is_not_called_is_refused(engine, names, called):
    ours, name = binary_fcos(engine), names[engine]
    with pytest.raises(InputError, match=rf"detector Mine: overrides {name}, which BinaryFCOS"):
        type("Mine", (ours,), {name: never})
    own = type("Mine", (ours,), {name: never, called: never})  # its own way to the losses or boxes
    assert issubclass(type("Further", (own,), {}), ours)


def test_terms_and_predicted_are_what_is_trained_and_evaluated(engine):
    model = build(engine, config(engine, "fcos", {"WEND.ETA": "0.5"}))
    ours = binary_fcos(engine)

    class Mine(ours):
        def terms(self, *batch):
            return {**super().terms(*batch), "loss_mine": torch.tensor(4.0)}

        def predicted(self, batch):
            boxes = super().predicted(batch)
            return type(boxes)(boxes.boxes, boxes.scores / 2, boxes.kept, boxes.classes)

    crops = random_crops(2, (1, 2))
    scores = [scores for _, scores in detections(engine, model.eval(), crops)]
    model.__class__ = Mine
    for (_, halved), whole in zip(detections(engine, model, crops), scores, strict=True):
        assert torch.equal(halved, whole / 2)
    assert losses(engine, model.train(), crops)["loss_mine"] == 2.0
