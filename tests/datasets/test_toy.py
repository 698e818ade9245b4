"""wend.datasets.toy: what it writes, read by the readers of the real data sets."""

import hashlib
import json

import cv2
import numpy as np
import pytest

from wend.datasets import toy
from wend.datasets.catalog import DataSets
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError
from wend.evaluation.metrics import accuracy
from wend.evaluation.per_image import score
from wend.evaluation.protocols import get_protocol
from wend.formats.cub import load_cub
from wend.pseudo_boxes import attach_pseudo_boxes, read_c2am

TINY = {"num_train": 20, "num_test": 10, "num_classes": 4, "image_size": (48, 64)}
NO_NOISE = {"part": 0.0, "shift": 0.0, "wrong_place": 0.0, "merge": 0.0}


def digest(root):
    """Every file's path and content below a folder."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def read(root, split="train"):
    data_set = load_cub(root / "CUB_200_2011", split)
    boxes = read_c2am(root / "c2am_boxes" / split / "pseudo_boxes")
    return attach_pseudo_boxes(data_set, boxes)


def share_of_right_boxes(root, split="train"):
    data_set = read(root, split)[0]
    scores = score(data_set, data_set.pseudo_boxes.scored(), get_protocol("original"))
    return accuracy(scores, "gt_known_loc")


def test_the_readers_of_cub_and_c2am_load_it_whole(toy_root, monkeypatch):
    records, report = read(toy_root)
    assert (len(records), report.matched, report.number("missing"), report.number("surplus")) == (
        24,
        24,
        0,
        0,
    )
    assert report.number("zero_area") == 0
    assert {record.class_id for record in records} == set(range(6))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    assert len(DataSets().get("toy_test_c2am")) == 12


def test_its_summary_is_what_our_metric_says_of_the_files(toy_root):
    summary = json.loads((toy_root / "toy.json").read_text())["summary"]
    for split, counts in summary.items():
        assert 100 * counts["pseudo_box_accuracy"] == pytest.approx(
            share_of_right_boxes(toy_root, split), abs=0.01
        )
        assert counts["objects"] == sum(len(r.gt_boxes) for r in read(toy_root, split)[0])


def test_equal_configs_write_equal_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_toy(tmp_path / name, ToyConfig(**TINY, seed=seed))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert digest(tmp_path / "a") != digest(tmp_path / "c")


def test_noise_and_split_sizes_do_not_change_the_pictures(tmp_path):
    write_toy(tmp_path / "a", ToyConfig(**TINY))
    write_toy(
        tmp_path / "b",
        ToyConfig(**{**TINY, "num_test": 5}, part=0.5, shift=0.5, wrong_place=0.0, merge=0.0),
    )
    images = [
        {k: v for k, v in digest(tmp_path / n).items() if k.endswith(".jpg") and "_train_" in k}
        for n in "ab"
    ]
    assert images[0] == images[1]
    assert len(images[0]) == 20


@pytest.mark.parametrize("fault", ["part", "shift", "wrong_place", "merge"])
def test_each_noise_makes_boxes_wrong_and_none_leaves_them_right(tmp_path, fault):
    write_toy(tmp_path / "clean", ToyConfig(**TINY, **NO_NOISE))
    assert share_of_right_boxes(tmp_path / "clean") == 100
    write_toy(tmp_path / "noisy", ToyConfig(**TINY, **{**NO_NOISE, fault: 1.0}))
    assert share_of_right_boxes(tmp_path / "noisy") <= 5


def test_half_the_noise_disturbs_about_half_the_boxes(tmp_path):
    config = ToyConfig(**{**TINY, "num_train": 120}, **{**NO_NOISE, "wrong_place": 0.5})
    write_toy(tmp_path / "toy", config)
    # binomial, n = 120, p = 0.5: 5 standard deviations are 23 points
    assert share_of_right_boxes(tmp_path / "toy") == pytest.approx(50, abs=23)


def test_truth_is_tight_around_what_was_drawn(tmp_path, monkeypatch):
    """The same picture without its birds differs inside the true boxes only, up to their edges."""
    config = ToyConfig(**TINY)
    with_birds, boxes, _ = toy.draw_sample(config, "train", 3)
    monkeypatch.setattr(toy, "_paint", lambda rng, image, shapes: np.zeros(4))
    without, _, _ = toy.draw_sample(config, "train", 3)
    changed = (np.abs(with_birds.astype(int) - without).max(-1) > 25).astype(np.uint8)
    x, y, w, h = cv2.boundingRect(changed)
    low = np.min([box[:2] for box in boxes], axis=0)
    high = np.max([box[:2] + box[2:] for box in boxes], axis=0)
    np.testing.assert_allclose([x, y, x + w, y + h], [*low, *high], atol=1.5)


def test_images_hold_one_to_three_objects_as_asked(tmp_path):
    counts = [len(toy.draw_sample(ToyConfig(), "train", i)[1]) for i in range(80)]
    assert set(counts) == {1, 2, 3}
    one = ToyConfig(max_objects=1)
    assert {len(toy.draw_sample(one, "train", i)[1]) for i in range(30)} == {1}


def test_images_differ_in_size_and_aspect_within_the_range(tmp_path):
    shapes = {toy.draw_sample(ToyConfig(), "test", i)[0].shape[:2] for i in range(30)}
    assert len(shapes) > 20
    assert all(72 <= side <= 120 for shape in shapes for side in shape)


def test_boxes_lie_inside_the_image():
    for number in range(40):
        image, boxes, pseudo = toy.draw_sample(ToyConfig(), "train", number)
        for x, y, w, h in [*boxes, pseudo]:
            assert 0 <= x < x + w <= image.shape[1]
            assert 0 <= y < y + h <= image.shape[0]


def test_an_existing_set_is_used_again_and_another_is_refused(tmp_path):
    summary = write_toy(tmp_path / "toy", ToyConfig(**TINY))
    before = digest(tmp_path / "toy")
    assert write_toy(tmp_path / "toy", ToyConfig(**TINY)) == summary
    with pytest.raises(InputError, match="delete the folder or choose another"):
        write_toy(tmp_path / "toy", ToyConfig(**TINY, seed=9))
    assert digest(tmp_path / "toy") == before
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=r"no toy\.json"):
        write_toy(tmp_path / "mine", ToyConfig(**TINY))


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    drawn = toy.draw_sample

    def fail(config, split, number):
        if number == 7:
            raise OSError("disk full")
        return drawn(config, split, number)

    monkeypatch.setattr(toy, "draw_sample", fail)
    with pytest.raises(OSError, match="disk full"):
        write_toy(tmp_path / "toy", ToyConfig(**TINY))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_train": 0},
        {"num_test": -1},
        {"num_classes": 31},
        {"image_size": (20, 60)},
        {"image_size": (80, 60)},
        {"max_objects": 4},
        {"part": 1.5},
        {"shift": -0.1},
        {"part": 0.6, "shift": 0.6},
        {"jitter": 0.2},
        {"seed": -1},
    ],
)
def test_a_setting_out_of_range_is_named_with_range_and_value(wrong):
    with pytest.raises(InputError, match=rf"{next(iter(wrong))}.* must be from .* to .*, got"):
        ToyConfig(**wrong)
