"""Runs of DDT: obvious objects, interruptions and sharing without trace, bad files, groups."""

from functools import partial

import numpy as np
import pytest
import torch
from crews import together
from PIL import Image
from torch import nn

from wend.classes.preprocessing import Preprocessing
from wend.errors import InputError
from wend.launch.crew import Crew
from wend.localize import ddt_run
from wend.localize.backbones import Backbone
from wend.localize.ddt_run import DdtOptions, blocks_of, group_images, localize
from wend.localize.found import FORMAT, LEFTOVERS, from_row
from wend.localize.kept_maps import KeptMaps
from wend.localize.network_pass import NetworkPass
from wend.localize.signs import settle
from wend.parts import Parts, Shard
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


def share(records, folder, network=None, by_class=True, crew=None, shard=None, **options):
    """What a process of a crew, or a shard, does; the parts that it then knows of."""
    readers = {"num_workers": 0, "skip_unreadable": False}
    readers |= {name: options.pop(name) for name in readers.keys() & options.keys()}
    readers["kept"] = KeptMaps(options.pop("keep_bytes", 2 << 30))
    options = DdtOptions(**{"batch_size": 5, **options})
    data_set = DataSet.from_records(records)
    model = network or backbone()
    network = NetworkPass(model, data_set, CPU, **readers)
    groups = group_images(data_set, by_class)
    output, about = folder.with_suffix(".json"), {"settings": 1}
    crew = crew or Crew()
    with crew, Parts(output, folder, FORMAT, about, from_row, crew, shard, LEFTOVERS) as parts:
        waits_for = localize(network, groups, parts, options)
    return parts, waits_for


def make(records, folder, network=None, by_class=True, **options):
    parts, waits_for = share(records, folder, network, by_class, **options)
    assert waits_for == ""
    return settle(parts.done, options.get("sign", "psol"))


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
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 2)
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
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 1)
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


@pytest.mark.parametrize("sign", ["psol", "border"])
@pytest.mark.parametrize("by_class", [True, False])
def test_boxes_do_not_depend_on_who_did_which_unit(birds, tmp_path, monkeypatch, sign, by_class):
    """In memory, in blocks, as three processes, as shards of which each has several goes."""
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 2)
    options = {"by_class": by_class, "sign": sign}
    expected = make(birds, tmp_path / "memory", **options)
    assert make(birds, tmp_path / "blocks", keep_bytes=0, **options) == expected
    for keep in (0, 2 << 30):
        task = partial(share, birds, tmp_path / f"crew{keep}", keep_bytes=keep, **options)
        everyone = together(3, lambda crew, task=task: task(crew=crew))
        assert settle(everyone[0][0].done, sign) == expected
    folder = tmp_path / "shards"
    open_steps = []
    for index in (2, 0, 1, 2, 0):
        shard = Shard(index, 3)
        parts, waits_for = share(birds, folder, shard=shard, keep_bytes=0, **options)
        open_steps.append(waits_for)
    assert open_steps == ["sums", "sums", "", "", ""]
    assert parts.open_shards("boxes") == ""
    with Parts.of_folder(tmp_path / "shards.json", folder, FORMAT, from_row) as merged:
        assert settle(merged.done, sign) == expected


def test_the_statistics_of_all_blocks_are_needed_for_psols_sign(birds, tmp_path, monkeypatch):
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 1)
    parts, _ = share(birds, tmp_path / "p", by_class=False, keep_bytes=0)
    lost = next(key for key in parts.done if not isinstance(key, str) and hasattr(key, "group"))
    del parts.done[lost]
    with pytest.raises(InputError, match=r"not all blocks of 1 groups are there \(all: 4 of 5\)"):
        settle(parts.done, "psol")


def test_blocks_are_whole_batches_and_not_too_many():
    assert blocks_of(12, 5) == [range(12)]
    assert blocks_of(501, 5) == [range(250), range(250, 500), range(500, 501)]
    many = blocks_of(1_281_167, 32)
    assert len(many) <= 128
    assert all(block.start % 32 == 0 for block in many)
    assert [many[0].start, many[-1].stop] == [0, 1_281_167]


def test_a_damaged_sum_is_removed_and_made_again(birds, tmp_path, monkeypatch):
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 1)
    options = {"by_class": False, "keep_bytes": 0}
    expected = make(birds, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        make(birds, tmp_path / "p", backbone(stop_at=8), **options)
    file = tmp_path / "p/sums/0.3.npz"
    content = file.read_bytes()
    file.write_bytes(content[:-400])
    (tmp_path / "p/sums/0.axis.npz").unlink()
    with pytest.raises(InputError, match=r"0\.3\.npz: is no sum of DDT's .* makes it anew"):
        make(birds, tmp_path / "p", **options)
    assert make(birds, tmp_path / "p", **options) == expected
    assert content == file.read_bytes()
