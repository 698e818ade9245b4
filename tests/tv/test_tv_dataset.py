from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from engine_runs import tv_config
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.datasets.importing import import_data_set
from wend.loading.crop import CropMapper
from wend.loading.selection import Selection
from wend.run import resolve
from wend.structures.data_set import DataSet
from wend.tv.dataset import (
    CroppedImages,
    EndlessSampler,
    build_test_loader,
    build_train_loader,
)


def test_test_examples_are_the_centre_crops_in_the_records_order():
    run = resolve(tv_config(), DataSets())
    batches = list(build_test_loader(run.tests["toy_test"], run.cfg))
    records = DataSets().get("toy_test")
    assert [len(batch) for batch in batches] == [1] * 12
    for (one,), record in zip(batches, records, strict=True):
        squashed = Image.open(record.file_name).convert("RGB").resize((64, 64), Image.BILINEAR)
        expected = np.asarray(squashed)[4:60, 4:60]
        assert one.image_id == record.image_id
        assert one.image.dtype == torch.float32
        assert np.array_equal(one.image.permute(1, 2, 0).numpy(), expected)


def test_training_batches_hold_the_pseudo_boxes_of_random_crops():
    run = resolve(tv_config(), DataSets())
    records = {r.image_id: r for r in DataSets().get("toy_train_c2am")}
    frames = set()
    for batch in islice(build_train_loader(run.training, run.cfg, seed=0), 6):
        assert len(batch) == 8
        for one in batch:
            expected = one.frame.to_frame(records[one.image_id].pseudo_boxes).clip(0, 56)
            assert len(one.boxes) + one.num_lost == len(expected)
            if not one.num_lost:
                assert np.allclose(one.boxes.numpy(), expected, atol=1e-4)
            frames.add((one.frame.offset_x, one.frame.flip))
    assert len(frames) > 5


def test_each_pass_shows_every_image_once_in_another_order():
    drawn = list(islice(EndlessSampler(7, seed=1), 21))
    passes = [drawn[i : i + 7] for i in (0, 7, 14)]
    assert [sorted(one) for one in passes] == [list(range(7))] * 3
    assert passes[0] != passes[1] != passes[2]
    assert list(islice(EndlessSampler(7, seed=1), 21)) == drawn
    assert list(islice(EndlessSampler(7, seed=2), 21)) != drawn


def test_images_without_a_box_are_left_out_of_training_only():
    records = list(DataSets().get("toy_train_c2am"))
    records[3] = replace(records[3], pseudo_boxes=np.zeros((0, 4)))
    mapper = CropMapper(64, 56, train=True)
    boxless = DataSet.from_records(records)
    train = CroppedImages(Selection([boxless], with_boxes=True), mapper)
    assert len(train) == 23
    assert records[3].image_id not in {train[place].image_id for place in range(23)}
    assert len(Selection([boxless], with_boxes=False)) == 24
    toy_test = DataSets().get("toy_test")
    both = CroppedImages(Selection([boxless, toy_test], with_boxes=True), mapper)
    expected = [r.image_id for r in (*records[:3], *records[4:], *DataSets().get("toy_test"))]
    assert [both[place].image_id for place in range(35)] == expected


@pytest.mark.parametrize("workers", ["0", "2"])
def test_batches_are_the_same_from_a_store(monkeypatch, tmp_path, workers):
    cfg = tv_config("fcos", {"DATALOADER.NUM_WORKERS": workers})

    def batches():
        run = resolve(cfg, DataSets())
        torch.manual_seed(3)
        loader = build_train_loader(run.training, run.cfg, seed=1)
        train = [one for batch in islice(loader, 4) for one in batch]
        test = [one for batch in build_test_loader(run.tests["toy_test"], run.cfg) for one in batch]
        return [
            (one.image_id, one.frame, one.image.tolist(), one.boxes.tolist(), one.num_lost)
            for one in (*train, *test)
        ]

    monkeypatch.setenv("WEND_STORES", str(tmp_path))
    before = batches()
    for name in ("toy_train_c2am", "toy_test"):
        import_data_set(DataSets(), name)
    assert batches() == before
    assert DataSets().get("toy_train_c2am").reopen is not None
    assert DataSets().get("toy_test").reopen is not None
