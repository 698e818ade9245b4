"""Runs of DDT: obvious objects found, interruptions without trace, bad files, groups."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wend.classes.preprocessing import Preprocessing
from wend.errors import InputError
from wend.localize import ddt_run
from wend.localize.backbones import Backbone
from wend.localize.ddt_run import DdtOptions, group_images, localize
from wend.localize.partial import Partial
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

SIDE = 64
CPU = torch.device("cpu")


class Pooled(nn.Module):
    """Colours averaged over cells of 4x4 pixels, counted: a network whose meaning is known."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.calls, self.stop_at = 0, stop_at

    def forward(self, images):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return nn.functional.avg_pool2d(images, 4)


def backbone(stop_at=None):
    return Backbone(Pooled(stop_at), Preprocessing("squash", SIDE, SIDE, False, "bilinear"), {})


@pytest.fixture
def birds(tmp_path):
    """24 images of two classes: a red (class 0) or blue (class 1) block on noisy green."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(24):
        image = rng.normal((60, 130, 60), 12, (SIDE, SIDE, 3))
        x, y = rng.integers(4, 28, 2)
        w, h = rng.integers(20, 32, 2)
        image[y : y + h, x : x + w] = ((200, 40, 40), (40, 40, 200))[number % 2]
        file = tmp_path / f"{number}.png"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file)
        true = [[x, y, x + w, y + h]]
        key = f"c{number % 2}/{number}.png"
        records.append(ImageRecord(number, str(file), SIDE, SIDE, key, number % 2, true))
    return records


def make(records, folder, network=None, by_class=True, **options):
    options = DdtOptions(**{"batch_size": 5, "num_workers": 0, **options})
    partial = Partial(folder, {"settings": 1})
    data_set = DataSet.from_records(records)
    groups = group_images(data_set, by_class)
    localize(network or backbone(), data_set, groups, partial, CPU, options)
    return partial.done


def overlaps(records, located):
    boxes = np.array([located[r.key][0].box for r in records]) * SIDE
    return paired_iou(boxes, np.array([r.gt_boxes[0] for r in records]))


@pytest.mark.parametrize("sign", ["psol", "border"])
@pytest.mark.parametrize("by_class", [True, False])
def test_obvious_objects_are_boxed_to_the_cell(birds, tmp_path, sign, by_class):
    """A block's sides lie within a cell (4 pixels) of the box's."""
    if not by_class:
        birds = birds[::2]  # one colour: two would be the ends of one axis
    located = make(birds, tmp_path / "p", by_class=by_class, sign=sign)
    boxes = np.array([located[r.key][0].box for r in birds]) * SIDE
    assert np.abs(boxes - [r.gt_boxes[0] for r in birds]).max() <= 4
    assert overlaps(birds, located).min() > 0.6
    assert not any(box.whole_image for (box,) in located.values())


def test_descriptors_kept_and_made_twice_give_the_same_boxes(birds, tmp_path):
    once, twice = backbone(), backbone()
    kept = make(birds, tmp_path / "a", once)
    again = make(birds, tmp_path / "b", twice, keep_bytes=0)
    assert kept == again
    assert (once.model.calls, twice.model.calls) == (1 + 6, 1 + 12)  # 2 classes of 3 batches


@pytest.mark.parametrize("keep_bytes", [0, 2 << 30])
@pytest.mark.parametrize("by_class", [True, False])
def test_an_interrupted_run_ends_in_the_same_boxes(
    birds, tmp_path, monkeypatch, keep_bytes, by_class
):
    monkeypatch.setattr(ddt_run, "SAVE_EVERY", 2)
    options = {"keep_bytes": keep_bytes, "by_class": by_class}
    whole = backbone()
    expected = make(birds, tmp_path / "whole", whole, **options)
    for stop in range(2, whole.model.calls + 1):
        folder = tmp_path / f"stop{stop}"
        with pytest.raises(KeyboardInterrupt):
            make(birds, folder, backbone(stop), **options)
        rest = backbone()
        assert make(birds, folder, rest, **options) == expected
        if keep_bytes == 0:  # a saved state costs at most the batches since, and the first trial
            assert rest.model.calls <= whole.model.calls - (stop - 2) + 2
    again = backbone()
    assert make(birds, folder, again, **options) == expected
    assert again.model.calls == 1


def test_a_small_network_interrupted_at_random_batches_is_bitwise_the_same(
    birds, tmp_path, monkeypatch
):
    monkeypatch.setattr(ddt_run, "SAVE_EVERY", 1)
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 12, 5, 4, 2), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1))

    def network(stop_at=None):
        built = backbone(stop_at)
        pooled = built.model
        built.model = nn.Sequential(layers, Stop(pooled))
        return built

    class Stop(nn.Module):
        def __init__(self, counter):
            super().__init__()
            self.counter = counter

        def forward(self, maps):
            self.counter(torch.zeros(1, 1, 4, 4))
            return maps

    expected = make(birds, tmp_path / "whole", network(), keep_bytes=0)
    with pytest.raises(KeyboardInterrupt):
        make(birds, tmp_path / "p", network(5), keep_bytes=0)
    with pytest.raises(KeyboardInterrupt):
        make(birds, tmp_path / "p", network(3), keep_bytes=0)
    assert make(birds, tmp_path / "p", network(), keep_bytes=0) == expected


def test_unreadable_images_end_the_run_or_are_left_out_and_named(birds, tmp_path):
    bad = birds[6]
    with open(bad.file_name, "wb") as file:
        file.write(b"cut off")
    with pytest.raises(InputError, match=r"6\.png: cannot be read as an image"):
        make(birds, tmp_path / "a", num_workers=1)
    for keep in (0, 2 << 30):
        located = make(birds, tmp_path / f"b{keep}", skip_unreadable=True, keep_bytes=keep)
        assert isinstance(located[bad.key], str)
        assert "6.png" in located[bad.key]
        rest = [r for r in birds if r is not bad]
        assert overlaps(rest, located).min() > 0.6


def test_a_class_without_any_readable_image_has_only_errors(birds, tmp_path):
    for record in birds[1::2]:
        with open(record.file_name, "wb") as file:
            file.write(b"")
    located = make(birds, tmp_path / "p", skip_unreadable=True, keep_bytes=0)
    assert all(isinstance(located[r.key], str) for r in birds[1::2])
    assert overlaps(birds[::2], located).min() > 0.6


def test_descriptors_that_are_not_numbers_are_an_error(birds, tmp_path):
    class Broken(nn.Module):
        def forward(self, images):
            return images[:, :, ::8, ::8] / 0.0 * 0.0

    broken = Backbone(Broken(), backbone().preprocessing, {})
    with pytest.raises(InputError, match="are not finite numbers; are the weights whole"):
        make(birds, tmp_path / "p", broken)


def test_a_sign_that_the_border_contradicts_is_said(birds, tmp_path, caplog):
    make(birds, tmp_path / "a", sign="border")
    assert "the sign may be wrong" not in caplog.text
    inverted = backbone()
    inverted.model = nn.Sequential(inverted.model, Dark())
    make(birds[::2], tmp_path / "b", inverted, sign="loading")
    assert "1 of 1 groups: the maps' borders are more object than their middles" in caplog.text


class Dark(nn.Module):
    """One channel that the ground excites and the object does not."""

    def forward(self, maps):
        return torch.cat([maps[:, 1:2], maps[:, 1:2] * 0.1], 1)


def test_groups_are_classes_else_folders_else_an_error():
    def groups(*images, **options):
        records = [ImageRecord(key, key, 9, 9, key, class_id) for key, class_id in images]
        return group_images(DataSet.from_records(records), **options)

    assert groups(("x/a.jpg", 1), ("x/b.jpg", 0), ("y/c.jpg", 1)) == {"1": [0, 2], "0": [1]}
    assert groups(("x/a.jpg", None), ("y/a.jpg", None)) == {"x": [0], "y": [1]}
    assert groups(("a.jpg", None), ("b.jpg", None), by_class=False) == {"all": [0, 1]}
    with pytest.raises(InputError, match=r"a\.jpg: has no class .* use --group all"):
        groups(("a.jpg", None))
