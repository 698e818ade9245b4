"""wend.loading.bad_images: what is skipped depends on the place alone, is counted and named."""

import json
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from wend.datasets.store import open_store
from wend.datasets.store_writer import write_store
from wend.errors import BadImageError, InputError
from wend.loading import bad_images
from wend.loading.bad_images import (
    GuardedImages,
    GuardedLoader,
    find_listed,
    read_quarantine,
)
from wend.loading.selection import Selection
from wend.run import most_to_skip
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


class Numbers(Dataset):
    """0..size-1; the bad ones cannot be read."""

    def __init__(self, size, bad=()):
        self.size, self.bad = size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise BadImageError(f"image{index}.jpg: cannot be read as an image (cut)")
        return index


def loader(bad, most, *, size=10, order=None, batch=5, workers=0, **options):
    inner = DataLoader(
        GuardedImages(Numbers(size, bad), most),
        sampler=list(range(size)) if order is None else order,
        batch_size=batch,
        num_workers=workers,
        collate_fn=list,
    )
    return GuardedLoader(inner, total=size, most=most, names="birds", **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_image_is_replaced_by_the_next_readable_one(workers, caplog):
    caplog.set_level(logging.INFO, "wend")
    batches = loader({3, 4, 9}, 3, workers=workers)
    # 3 and 4 -> 5; after the last comes the first: 9 -> 0
    assert list(batches) == [[0, 1, 2, 5, 5], [5, 6, 7, 8, 0]]
    assert sorted(batches.skipped) == [3, 4, 9]
    assert batches.times == 4  # 3 and 4 on the way from 3, 4 again, 9
    batches.summarize()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "skipped, 1 of at most 3: image3.jpg: cannot be read as an image (cut)",
        "skipped, 2 of at most 3: image4.jpg: cannot be read as an image (cut)",
        "skipped, 3 of at most 3: image9.jpg: cannot be read as an image (cut)",
        "3 of 10 training images could not be read and were skipped, 4 times in all: "
        "image3.jpg, image4.jpg, image9.jpg",
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_raise_names_the_file_and_what_to_do_in_one_line(workers):
    batches = iter(loader({7}, 0, workers=workers))
    assert next(batches) == [0, 1, 2, 3, 4]
    message = (
        "image7.jpg: cannot be read as an image (cut); 'wend data check NAME' lists all such "
        "images; WEND.DATA.QUARANTINE FILE leaves the listed ones out, WEND.DATA.ON_BAD_IMAGE "
        "skip skips a few"
    )
    with pytest.raises(BadImageError, match=f"^{re.escape(message)}$"):
        next(batches)


def test_more_bad_images_than_allowed_are_an_error_with_all_names():
    batches = iter(loader({1, 6, 8}, 2))
    assert next(batches) == [0, 2, 2, 3, 4]
    message = (
        "birds: 3 of 10 training images cannot be read (image1.jpg, image6.jpg, image8.jpg), "
        "and WEND.DATA.MAX_BAD_SHARE allows 2; "
    )
    with pytest.raises(BadImageError, match=re.escape(message)):
        next(batches)


def test_a_row_of_bad_images_longer_than_allowed_is_not_read_to_its_end():
    reads = []

    class Counted(Numbers):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    outcome = GuardedImages(Counted(1000, range(1000)), 2)[5]
    assert outcome.example is None
    assert [place for place, _ in outcome.bad] == reads == [5, 6, 7]
    with pytest.raises(BadImageError, match="3 of 10 training images cannot be read"):
        list(loader(range(10), 2))


def test_other_errors_are_not_skipped():
    class Broken(Numbers):
        def __getitem__(self, index):
            raise InputError("class 7, but the detector has the classes 0 to 3")

    with pytest.raises(InputError, match="class 7"):
        GuardedImages(Broken(4), 4)[0]


def test_processes_know_the_same_and_end_at_the_same_batch(monkeypatch):
    """Two ranks in lockstep: the gather hands each the other's news."""
    monkeypatch.setattr(bad_images, "EXCHANGE_PERIOD", 2)
    news: list = []
    calls = []

    def gather(new):  # called by the first rank, then by the second, as recorded
        calls.append(new)
        return news.pop(0)

    first = [(1, "image1.jpg: cut")]
    second = [(4, "image4.jpg: cut"), (5, "image5.jpg: cut")]
    bad = {1: "cut", 4: "cut", 5: "cut"}
    order = [0, 1, 2, 3]
    news += [[first, []], [[], second]]
    left = loader(bad, 2, order=order, batch=1, gather=gather)
    seen = []
    with pytest.raises(BadImageError, match="birds: 3 of 10 training images") as said_left:
        seen.extend(left)
    # two batches a exchange: the error comes at the fourth, before it is handed out
    assert seen == [[0], [2], [2]]
    news += [[first, []], [[], second]]
    right = loader(bad, 2, order=[6, 7, 8, 9], batch=1, gather=gather)
    seen = []
    with pytest.raises(BadImageError) as said_right:
        seen.extend(right)
    assert seen == [[6], [7], [8]]
    assert str(said_left.value) == str(said_right.value)
    assert left.skipped == right.skipped
    assert [len(new) for new in calls] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("policy", "share", "total", "most"),
    [
        ("raise", 1.0, 100, 0),
        ("skip", 0.001, 5994, 5),
        ("skip", 0.001, 999, 0),
        ("skip", 0.07, 100, 7),  # 0.07 * 100 is 7.000000000000001
        ("skip", 0.29, 100, 29),  # and 0.29 * 100 is 28.999999999999996
        ("skip", 1.0, 10, 10),
    ],
)
def test_share_of_the_images_that_may_be_skipped(policy, share, total, most):
    data = SimpleNamespace(ON_BAD_IMAGE=policy, MAX_BAD_SHARE=share)
    cfg = SimpleNamespace(WEND=SimpleNamespace(DATA=data))
    assert most_to_skip(cfg, total) == most


def test_quarantine_takes_marked_lines_of_a_check_and_plain_keys_and_paths(tmp_path):
    path = tmp_path / "q"
    rows = [
        {"key": "a/ü 1.jpg", "leave_out": True, "problem": "unreadable"},
        {"key": "a/2.jpg", "leave_out": False, "problem": "box outside"},
    ]
    lines = [*(json.dumps(row) for row in rows), "", "b/3.jpg", "  /data/b/4.jpg  "]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert read_quarantine(str(path)) == {"a/ü 1.jpg", "b/3.jpg", "/data/b/4.jpg"}
    assert read_quarantine("") == frozenset()


TWICE = '{"key": "a", "leave_out": true, "leave_out": false}'


@pytest.mark.parametrize("line", ['{"key": "a"}', "{", '{"leave_out": true}', "{1: 2}", TWICE])
def test_a_wrong_line_of_a_quarantine_is_named(tmp_path, line):
    path = tmp_path / "q"
    path.write_text(f"a/b.jpg\n{line}\n")
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}, line 2: .*expected a line of"):
        read_quarantine(str(path))


@pytest.mark.parametrize("kind", ["list", "store"])
def test_listed_images_are_found_by_key_and_by_path(tmp_path, kind):
    records = DataSet.from_records(ImageRecord(i, f"/data/c/{i}.jpg", 4, 4) for i in range(5))
    if kind == "store":
        write_store(tmp_path / "s", records, "/data")
        records = open_store(tmp_path / "s", "/data")
    listed = frozenset({"c/1.jpg", "/data/c/3.jpg", "c/9.jpg"})
    assert find_listed(records, listed) == {1: "c/1.jpg", 3: "/data/c/3.jpg"}
    assert find_listed(records, frozenset()) == {}


def test_selection_leaves_out_places_of_each_data_set():
    box = [[0, 0, 2, 2]]
    sets = [
        DataSet.from_records(
            ImageRecord(f"{name}{i}", f"/{name}/{i}.jpg", 4, 4, pseudo_boxes=box * (i != 1))
            for i in range(4)
        )
        for name in ("a", "b")
    ]
    out = [np.array([0, 1]), np.array([3])]
    chosen = Selection(sets, with_boxes=True, leave_out=out)
    assert [chosen[i][0].image_id for i in range(len(chosen))] == ["a2", "a3", "b0", "b2"]
    with pytest.raises(InputError, match="there is no image with a box"):
        Selection(sets[:1], with_boxes=True, leave_out=[np.arange(4)])
