"""Batches of either engine: which images, which pixels and boxes, from files or from a store."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_runs import config
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.datasets.importing import import_data_set
from wend.run import resolve


def _train_loader(engine, cfg):
    if engine == "detectron2":
        from wend.d2 import Trainer

        return Trainer.build_train_loader(cfg)
    from wend.tv.dataset import build_train_loader

    run = resolve(cfg, DataSets())
    return build_train_loader(run.training, run.cfg)


def _test_loader(engine, cfg):
    if engine == "detectron2":
        from wend.d2 import Trainer

        return Trainer.build_test_loader(cfg, "toy_test")
    from wend.tv.dataset import build_test_loader

    run = resolve(cfg, DataSets())
    return build_test_loader(run.tests["toy_test"], run.cfg)


def _example(engine, example):
    """image_id, frame, image (H, W, 3), boxes (P, 4) and lost of an example of a batch."""
    if engine == "torchvision":
        fields, boxes = vars(example), example.boxes
        fields = {**fields, "boxes": boxes.numpy(), "lost": example.counts.lost}
    else:
        fields = {**example, "boxes": np.zeros((0, 4)), "lost": 0}
        if "instances" in example:
            fields["boxes"] = example["instances"].gt_boxes.tensor.numpy()
            fields["lost"] = example["box_counts"].lost
    fields["image"] = fields["image"].permute(1, 2, 0).numpy()
    return SimpleNamespace(**fields)


def _batches(engine, loader, number=99):
    return [[_example(engine, example) for example in batch] for batch in islice(loader, number)]


def test_test_examples_are_the_centre_crops_in_the_records_order(engine):
    batches = _batches(engine, _test_loader(engine, config(engine)))
    records = DataSets().get("toy_test")
    assert [len(batch) for batch in batches] == [1] * 12  # WEND.TEST_BATCH
    for (example,), record in zip(batches, records, strict=True):
        squashed = Image.open(record.file_name).convert("RGB").resize((64, 64), Image.BILINEAR)
        assert example.image_id == record.image_id
        assert np.array_equal(example.image, np.asarray(squashed)[4:60, 4:60])
        assert (example.frame.offset_x, example.frame.offset_y) == (-4, -4)


def test_training_batches_hold_the_pseudo_boxes_of_random_crops(engine):
    records = {r.image_id: r for r in DataSets().get("toy_train_c2am")}
    frames = set()
    for batch in _batches(engine, _train_loader(engine, config(engine)), 6):
        assert len(batch) == 8
        for example in batch:
            boxes = records[example.image_id].pseudo_boxes
            expected = example.frame.to_frame(boxes).clip(0, 56)
            assert len(example.boxes) + example.lost == len(expected)
            if not example.lost:
                assert np.allclose(example.boxes, expected, atol=1e-4)
            frames.add((example.frame.offset_x, example.frame.flip))
    assert len(frames) > 5


@pytest.mark.parametrize("workers", ["0", "2"])
def test_batches_are_the_same_from_a_store(engine, monkeypatch, tmp_path, workers):
    cfg = config(engine, "fcos", {"DATALOADER.NUM_WORKERS": workers})

    def batches():
        torch.manual_seed(3)
        train = _batches(engine, _train_loader(engine, cfg), 4)
        test = _batches(engine, _test_loader(engine, cfg))
        return [
            (e.image_id, e.frame, e.image.tobytes(), e.boxes.tolist(), e.lost)
            for batch in (*train, *test)
            for e in batch
        ]

    monkeypatch.setenv("WEND_STORES", str(tmp_path))
    before = batches()
    for name in ("toy_train_c2am", "toy_test"):
        import_data_set(DataSets(), name)
    assert batches() == before
    assert DataSets().get("toy_train_c2am").reopen is not None
    assert DataSets().get("toy_test").reopen is not None
