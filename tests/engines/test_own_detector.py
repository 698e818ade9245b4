"""Detectors of the user's that have nothing in common with ours, on both engines.

``docs/extend.md`` has those that subclass one of ours.
"""

import numpy as np
import pytest
import torch
from engine_runs import kept_logging, options, untrained

from wend.cli.train import main
from wend.inference.detector import Detector

pytestmark = pytest.mark.usefixtures("own_registries")

PLAIN = """
import torch
from torch import nn


class Plain(nn.Module):
    '''One box from the mean color; it has no backbone, and does not say its label.'''

    def __init__(self, cfg):
        super().__init__()
        float(torch.ones(1))  # cannot be done where tensors have no memory
        self.head = nn.Linear(3, 4)

    def box(self, images):
        return self.head(torch.stack([image.float().mean((1, 2)) / 255 for image in images]))
"""
OF_ENGINE = {
    "detectron2": PLAIN
    + """
    def forward(self, batch):
        from detectron2.structures import Boxes, Instances

        boxes = self.box([example["image"] for example in batch])
        if self.training:
            return {"loss_box": boxes.square().sum()}
        size = batch[0]["height"], batch[0]["width"]
        box = torch.tensor([[4.0, 4.0, 20.0, 20.0]])
        score, label = torch.ones(1), torch.zeros(1, dtype=torch.int64)
        return [
            {"instances": Instances(size, pred_boxes=Boxes(box), scores=score, pred_classes=label)}
            for _ in batch
        ]


from detectron2.modeling import META_ARCH_REGISTRY

META_ARCH_REGISTRY.register(Plain)
""",
    "torchvision": PLAIN
    + """
    def forward(self, images, targets=None):
        boxes = self.box(images)
        if self.training:
            return {"loss_box": boxes.square().sum() + 0 * targets[0]["labels"].sum()}
        return [
            {"boxes": torch.tensor([[4.0, 4.0, 20.0, 20.0]]), "scores": torch.ones(1)}
            for _ in images
        ]


from wend.tv import META_ARCH_REGISTRY

META_ARCH_REGISTRY.register()(Plain)
""",
}


@pytest.fixture
def train(tmp_path):
    """Exit status of a training of the detector of a file on an engine."""

    def run(engine, code, changes=None):
        """With what the torchvision engine requires of every detector."""
        file = tmp_path / "plain.py"
        file.write_text(code)
        changes = {"WEND.EPOCHS": "1", "SOLVER.WARMUP_ITERS": "0", **(changes or {})}
        changes |= {"INPUT.FORMAT": "RGB", "MODEL.RESNETS.STRIDE_IN_1X1": "False"}
        changes |= {"SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR"}
        changes = {"WEND.LOSS": "none", "OUTPUT_DIR": str(tmp_path / "out"), **changes}
        changes["MODEL.META_ARCHITECTURE"] = f"{file}:Plain"
        with kept_logging():
            return main(["--engine", engine, *options(changes)])

    return run


def test_a_detector_without_backbone_label_or_loss_of_ours_is_trained(engine, train, tmp_path):
    assert train(engine, OF_ENGINE[engine]) == 0
    saved = torch.load(tmp_path / "out/model_final.pth", weights_only=False)["model"]
    assert set(saved) == {"head.weight", "head.bias"}
    assert (tmp_path / "out/inference/toy_test/detections.json").is_file()


@pytest.mark.parametrize("changes", [{"WEND.LOSS": "entropy"}, {"WEND.ETA": "0.5"}])
def test_a_loss_or_eta_that_such_a_detector_does_not_have_is_an_error(
    engine, changes, train, capsys
):
    code = OF_ENGINE[engine].replace("float(torch.ones(1))", "pass")
    assert train(engine, code, changes) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: config entry WEND.LOSS: Plain is not one of WEND's")
    assert "let it hold a localization_loss (docs/extend.md)" in said


@pytest.mark.parametrize(
    ("line", "wrong", "error"),
    [
        ("self.head = nn.Linear(3, 4)", "self.head = nn.Linear(3, width)", NameError),
        ("boxes = self.box(", "assert not self.training; boxes = self.box(", AssertionError),
    ],
)
def test_what_goes_wrong_in_the_users_code_keeps_its_traceback(engine, line, wrong, error, train):
    assert line in OF_ENGINE[engine]
    with pytest.raises(error) as caught:
        train(engine, OF_ENGINE[engine].replace(line, wrong))
    assert caught.traceback[-1].path.name == "plain.py"


@pytest.mark.parametrize("look", ["0.0", "1.5"], ids=["one look", "a closer look"])
def test_one_may_predict_another_number_of_boxes_of_each_image(engine, look):
    from wend.modeling.detectors import DETECTORS, SCR

    @DETECTORS.register()
    class SomeSCR(SCR):
        """SCR that has no box of every second image."""

        def detections(self, predictions, frames):
            boxes, scores = self.best_boxes(predictions, frames)
            return [(box[: i % 2], scores[i][: i % 2]) for i, box in enumerate(boxes)]

    changes = {"WEND.CLOSER_LOOK": look}
    every = untrained(engine, "scr", changes)
    some = untrained(engine, "scr", {**changes, "MODEL.META_ARCHITECTURE": "SomeSCR"})
    images = [np.full((40, 60, 3), 50 * i, np.uint8) for i in range(5)]
    expected, predicted = (
        list(Detector(loaded(engine, *model), "ignore", engine=engine)(images, batch_size=5))
        for model in (every, some)
    )
    assert [len(detections) for detections in expected] == [1] * 5
    assert [len(detections) for detections in predicted] == [0, 1, 0, 1, 0]
    if look == "0.0":  # the second look has fewer images
        for index in (1, 3):
            np.testing.assert_array_equal(predicted[index].xyxy, expected[index].xyxy)


def loaded(engine, cfg, model):
    """The model as :func:`wend.load` has it."""
    if engine == "detectron2":
        from wend.d2.inference import TrainedModel
    else:
        from wend.tv.inference import TrainedModel
    return TrainedModel(cfg, model)
