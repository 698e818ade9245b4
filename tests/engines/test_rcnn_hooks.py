"""What a subclass of an R-CNN may override, on either engine: what nobody calls is refused."""

import pytest

from wend.errors import InputError

HOOKS = {
    ("detectron2", "BinaryOutputLayers"): {
        "supervised": ["box_reg_loss", "sigmoid_cross_entropy_loss"],
        "decoded": ["predict_boxes"],
        "foreground_scores": ["predict_probs", "inference"],
    },
    ("detectron2", "BinaryROIHeads"): {
        "label_and_sample_proposals": ["_sample_proposals"],
        "head": ["_forward_box"],
    },
    ("detectron2", "BatchedRPN"): {
        "label_and_sample_anchors": ["_subsample_labels"],
        "predict_proposals": ["_decode_proposals"],
    },
    ("torchvision", "BatchedRPN"): {"forward": ["filter_proposals", "compute_loss"]},
    ("detectron2", "BinaryRCNN"): {"predicted": ["inference"]},
    ("torchvision", "BinaryRoIHeads"): {
        "terms": ["forward", "subsample", "select_training_samples"],
        "predicted": ["postprocess_detections"],
    },
}
CASES = [
    (*key, called, name)
    for key, hooks in HOOKS.items()
    for called, names in hooks.items()
    for name in names
]


@pytest.mark.parametrize(("engine", "ours", "called", "name"), CASES)
def test_a_method_that_nobody_would_call_is_refused(engine, ours, called, name):
    if engine == "detectron2":
        import wend.d2.faster_rcnn as module
    else:
        import wend.tv.rcnn as module
    base = getattr(module, ours)
    expected = rf"Mine: overrides {name}, which {ours} does not call.*override {called} "
    with pytest.raises(InputError, match=expected):
        type("Mine", (base,), {name: lambda self: None})
    both = {name: lambda self: None, called: lambda self: None}
    assert issubclass(type("Mine", (base,), both), base)
