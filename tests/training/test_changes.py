"""What a training that goes on is compared by: entries, data, code, processes, versions."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from wend.errors import InputError
from wend.loading.selection import Selection
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.training.changes import changed_entries, check_changes, entries_of
from wend.training.facts import TRAINING_KEY, Asked
from wend.weight_files import ORIGIN_KEY, Origin

CONFIG = "SEED: 3\nSOLVER: {BASE_LR: 0.01, MAX_ITER: 6}\nWEND: {EPOCHS: 2, LOSS: /a/mine.py:f}\n"
FACTS = {
    "seed": 3,
    "world_size": 2,
    "images": 4,
    "boxes": 5,
    "data_digest": "d",
    "code": {"mine.py": "c"},
    "versions": {"torch": "2.6"},
}
ORIGIN = Origin(CONFIG, "torchvision", "ignore")
THEN = {ORIGIN_KEY: {"config": CONFIG, "engine": "torchvision"}, TRAINING_KEY: FACTS}


def listed(config=CONFIG, seed_is_open=False, then=THEN, **facts):
    """What is listed where so much is asked for; empty where nothing differs."""
    asked = Asked(replace(ORIGIN, config=config), {**FACTS, **facts}, seed_is_open)
    try:
        check_changes("run/model.pth", then, asked, allow=False)
    except InputError as error:
        return str(error).partition("asked for: ")[2].partition(". Ask for")[0]
    return ""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.01", "0.02", "SOLVER.BASE_LR: 0.01 -> 0.02"),
        ("EPOCHS: 2", "EPOCHS: 0", ""),  # another way to say the same length
        ("MAX_ITER: 6", "MAX_ITER: 9", "SOLVER.MAX_ITER: 6 -> 9"),
        ("SEED: 3", "SEED: 4", "SEED: 3 -> 4"),
        ("SEED: 3", "SEED: 3\nOUTPUT_DIR: b", ""),
        ("/a/mine.py:f", "/b/mine.py:f", ""),  # moved
        ("/a/mine.py:f", "/a/mine.py:g", "WEND.LOSS: 'mine.py:f' -> 'mine.py:g'"),
        ("WEND: {", "WEND: {ETA: 1.0, ", ""),  # a newer version's entry at its default
        ("WEND: {", "WEND: {ETA: 0.5, ", "WEND.ETA: 1.0 -> 0.5"),
        ("WEND: {", "WEND: {MINE: {WIDTH: 64}, ", "WEND.MINE.WIDTH: no such entry -> 64"),
        ("SOLVER: {", "SOLVER: {OF_A_NEWER_DETECTRON2: 1, ", ""),
    ],
)
def test_entries_are_compared_by_what_they_do(old, new, said):
    assert listed(CONFIG.replace(old, new)) == said


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"world_size": 1}, "processes: 2 -> 1"),
        ({"world_size": None}, ""),  # not known yet
        (
            {"data_digest": "e", "images": 3},
            "training data: 4 images with 5 boxes -> 3 images with 5 boxes",
        ),
        (
            {"data_digest": "e"},
            "training data: 4 images with 5 boxes -> 4 images with 5 boxes of other names, order, "
            "sizes, places or scores",
        ),
        ({"code": {"mine.py": "x"}}, "your code mine.py: of other content, or not there"),
        ({"code": {}}, "your code mine.py: of other content, or not there"),
        ({"versions": {"torch": "2.7"}}, ""),
    ],
)
def test_data_code_and_processes_are_compared(facts, said):
    assert listed(**facts) == said


def test_an_open_seed_asks_for_nothing():
    assert listed(CONFIG.replace("SEED: 3", "SEED: 77"), seed_is_open=True) == ""


def test_other_versions_are_a_warning(caplog):
    listed(versions={"torch": "2.7", "numpy": "2"})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("in the last digits: torch 2.6 -> 2.7")


@pytest.mark.parametrize("missing", [ORIGIN_KEY, TRAINING_KEY])
def test_what_is_not_known_is_not_taken_for_the_same(missing):
    then = {key: value for key, value in THEN.items() if key != missing}
    assert "the data, the seed and the number of processes: not noted" in listed(then=then)


def test_every_free_entry_of_a_config_is_free(tmp_path):
    """And no other: each entry that a default config has is changed once."""
    from wend.training.changes import FREE
    from wend.tv.config import get_cfg

    entries = entries_of(get_cfg().dump())
    for name in entries:
        changed = changed_entries(entries, {**entries, name: "another"})
        assert changed == {name: f"{entries[name]!r} -> 'another'"}
    unknown = {name for name in FREE if name not in entries}
    assert unknown <= {"VIS_PERIOD", "WEND.KEEP_BEST", "WEND.EARLY_STOPPING"} | {
        "WEND.DATA.MAX_MEGAPIXELS"
    }


def data(keys=("a", "b"), boxes=((0, 0, 4, 4), (1, 1, 3, 3)), scores=None, exif="ignore"):
    table = BoxTable.from_lists([[box] for box in boxes], scores)
    number = len(keys)
    return DataSet(
        name="any",
        image_ids=list(keys),
        file_names=[f"/somewhere/{key}" for key in keys],
        keys=list(keys),
        sizes=np.full((number, 2), 9),
        class_ids=np.zeros(number, dtype=np.int64),
        truth=BoxTable.empty(number),
        pseudo_boxes=table,
        exif=exif,
    )


def digest(*data_sets, **arguments):
    return Selection(data_sets, with_boxes=True, **arguments).digest


def test_the_digest_is_of_what_is_learned_and_of_nothing_else():
    base = data()
    moved = replace(
        base, name="other", file_names=["/elsewhere/a", "/elsewhere/b"], image_ids=[1, 2]
    )
    truth = replace(base, truth=BoxTable.from_lists([[(0, 0, 1, 1)], []]))
    assert digest(base) == digest(moved) == digest(truth)
    others = [
        digest(data(keys=("b", "a"))),
        digest(data(keys=("a", "c"))),
        digest(data(boxes=((0, 0, 4, 4), (1, 1, 3, 3.5)))),
        digest(data(scores=[[0.5], [0.25]])),
        digest(data(exif="apply")),
        digest(replace(base, sizes=np.full((2, 2), 8))),
        digest(base, leave_out=[np.array([1])]),
        digest(base, base),
    ]
    assert len({digest(base), *others}) == 9
