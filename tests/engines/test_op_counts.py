"""What a further image of a batch adds to a step and to a test: few operations, and no sync.

An operation costs the host of a GPU its time whatever its size, so that a detector whose operations
grow with the batch is bound by Python; ``projects/benchmark/cost/operations.py`` counts them.
"""

import sys

import pytest
import torch
from engine_runs import (
    BUILDABLE,
    ONE_ANCHOR,
    REPOSITORY,
    build,
    config,
    detections,
    losses,
    random_crops,
    untrained,
)

sys.path.insert(0, str(REPOSITORY / "projects" / "benchmark" / "cost"))

from operations import growth

MOST = 8  # operations of a further image
SMALL, LARGE = 4, 12
BOXES = (1, 2, 0, 1)  # of the images
FEW = {
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "16",
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "16",
    "WEND.DETR.ENC_LAYERS": "1",
}
OF_IMAGES = {
    "WEND.IMAGE_WEIGHTS": "('box_score', 'teacher_agreement')",
    "WEND.EMA.DECAY": "0.99",
    "WEND.TEACHER.ENABLED": "True",
}
OF_SAMPLES = {
    "WEND.CLS_LOSS": "gce",
    "WEND.SAMPLE_WEIGHTS": "('drop_loss', 'ignore_regions', 'small_loss', 'small_loss_samples')",
}

EACH = pytest.mark.parametrize(("engine", "name"), BUILDABLE)


def step(engine, name, changes=None):
    """Work on so many images: a forward and a backward pass."""
    changes = {**FEW, **(ONE_ANCHOR if name == "cln" else {}), **(changes or {})}
    model = build(engine, config(engine, name, changes))

    def work(images):
        crops = random_crops(images, BOXES)
        scores = [torch.full((len(boxes),), 0.7) for _, boxes in crops]
        teacher = [(boxes + 3, score) for (_, boxes), score in zip(crops, scores, strict=True)]

        def do():
            terms = losses(engine, model, crops, scores=scores, teacher=teacher)
            sum(terms.values()).backward()

        return do

    return work


def assert_constant(work):
    grown = growth(work, SMALL, LARGE)
    assert grown.per_image <= MOST, grown.growing()
    assert grown.small.counts.syncs >= grown.large.counts.syncs, grown.growing()


@EACH
def test_a_step(engine, name):
    assert_constant(step(engine, name))


@EACH
def test_a_step_with_all_remedies_against_noisy_boxes(engine, name):
    changes = OF_IMAGES if name == "scr" else {**OF_IMAGES, **OF_SAMPLES}
    if name in ("rcnn", "cln"):
        changes = {**changes, "WEND.RCNN.RATIO": "exact"}
    assert_constant(step(engine, name, changes))


@EACH
def test_a_test_batch(engine, name):
    model = untrained(engine, name, FEW)[1]

    def work(images):
        crops = random_crops(images, BOXES)
        return lambda: detections(engine, model, crops)

    assert_constant(work)
