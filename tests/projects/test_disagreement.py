"""projects/reproduce/disagreement.py: entropy as far as images disagree with their boxes."""

import importlib.util
import math

import pytest
import torch
from engine_runs import REPOSITORY

from wend.losses import LossContext

FILE = REPOSITORY / "projects" / "reproduce" / "disagreement.py"


@pytest.fixture
def disagreement(own_registries):
    spec = importlib.util.spec_from_file_location("disagreement", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def context(logits, labels, images):
    return LossContext(
        torch.tensor(logits, requires_grad=True),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(images, dtype=torch.int64),
    )


def test_an_image_disagrees_where_its_best_sample_has_no_box(disagreement):
    batch = context([2.0, 0.0, 1.0, 0.0, -1.0, -2.0], [1, 0, 0, 1, -1, 1], [0, 0, 1, 1, 2, 2])
    assert disagreement.disagreeing(batch).tolist() == [0, 1, 1]


def test_strength_is_the_share_of_images(disagreement):
    # H(0.5) = log 2 for every sample; of two images one disagrees
    batch = context([0.0, -9.0, 0.0, -9.0], [1, 0, 0, 1], [0, 0, 1, 1])
    whole = torch.tensor([0.0, -9.0])
    p = whole.sigmoid()
    entropy = float((-p * p.log() - (1 - p) * (1 - p).log()).mean())
    assert disagreement.entropy_by_disagreement(batch).item() == pytest.approx(entropy / 2)
    assert disagreement.entropy_of_disagreeing(batch).item() == pytest.approx(entropy / 2)


def test_only_images_that_disagree_are_pushed(disagreement):
    batch = context([1.0, -1.0, 1.0, -1.0], [1, 0, 0, 1], [0, 0, 1, 1])
    disagreement.entropy_of_disagreeing(batch).backward()
    gradient = batch.logits.grad
    assert gradient[:2].tolist() == [0, 0]
    # dH/dz = -z p (1-p); a quarter of it, of four samples
    p = 1 / (1 + math.exp(-1.0))
    assert gradient[2:].tolist() == pytest.approx([-p * (1 - p) / 4, p * (1 - p) / 4])


@pytest.mark.parametrize("name", ["entropy_by_disagreement", "entropy_of_disagreeing"])
def test_an_empty_batch_has_a_zero_with_a_gradient(disagreement, name):
    batch = context([], [], [])
    value = getattr(disagreement, name)(batch)
    value.backward()
    assert value.item() == 0
    assert batch.logits.grad.shape == (0,)
