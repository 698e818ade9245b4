"""projects/reproduce/photos.py: a detector beside the boxes that it learned from."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from engine_runs import REPOSITORY, kept_logging

sys.path.insert(0, str(REPOSITORY / "projects" / "reproduce"))

import photos

from wend.cli.nested import run_command
from wend.datasets.catalog import DataSets
from wend.structures.box_table import BoxTable

TINY = {
    "MODEL.DEVICE": "cpu",
    "WEND.SMALL_CNN.CHANNELS": "(16, 16, 32)",
    "WEND.RESIZE": "64",
    "WEND.CROP": "64",
    "WEND.EPOCHS": "1",
    "SOLVER.IMS_PER_BATCH": "4",
    "SOLVER.WARMUP_ITERS": "0",
    "WEND.CLOSER_LOOK": "1.3",
}


def scores(*hits):
    """Of hits (S, I); nothing else is asked for."""
    hits = np.array(hits, bool)
    return photos.Scores(hits, hits, np.zeros(hits.shape))


def test_pairs_count_images_of_each_seed_and_test_by_hand():
    own = scores([1, 1, 1, 0, 0, 0, 0, 0, 0])
    detector = scores([1, 1, 0, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0])
    part = {photos.BOXES[photos.APART]: own, photos.ONE_LOOK: own, photos.DETECTOR: detector}
    _, _, same, row = photos.pair_table({("birds", photos.TEST): part}).splitlines()
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:3] == ["birds", "9, others", "detector less its own boxes"]
    assert cells[3] == f"{100 * ((7 + 4) / 2 - 3) / 9:+.1f}"
    assert cells[6:8] == ["2, 3", "5:1, 1:0"]
    # both tails of Binomial(6, 1/2) at 1 or fewer: 2 (1 + 6) / 64; of (1, 1/2): 1
    assert cells[8] == f"{14 / 64:.2g}, 1"
    assert same.split("|")[4].strip() == "+0.0"


def test_images_of_several_sets_are_pooled_and_seeds_are_not():
    label = photos.DETECTOR
    sets = {("a", photos.TEST): {label: scores([1, 0], [1, 1])}}
    assert not photos.pooled(sets)
    sets["b", photos.TEST] = {label: scores([0, 0, 0], [0, 0, 1])}
    sets["b", photos.TRAIN] = {label: scores([1], [1])}
    ((key, part),) = photos.pooled(sets).items()
    assert key == ("all", photos.TEST)
    assert part[label].hits.tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 1]]


def test_dealt_boxes_are_those_of_other_photos_in_fractions():
    sizes = np.array([[10, 20], [100, 50], [40, 40], [8, 4]])
    corners = np.array([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [0.3, 0.3, 0.4, 0.9]])
    boxes = [corners[i : i + 1] * np.tile(sizes[i], 2) for i in range(3)]
    table = BoxTable.from_arrays([*boxes, np.zeros((0, 4))])
    table = replace(table, scores=np.array([0.5, 0.25, 0.75]))
    dealt = photos.dealt(table, sizes)
    seen = [
        tuple(np.round(dealt[i][0] / np.tile(sizes[i], 2), 6)) if len(dealt[i]) else ()
        for i in range(4)
    ]
    own = [tuple(corners[i]) for i in range(3)] + [()]
    assert sorted(seen) == sorted(own)
    assert all(a != b for a, b in zip(seen, own, strict=True))


@pytest.fixture
def study(toy_root, tmp_path, monkeypatch, capsys):
    """Runs the script on a few photos, its commands in this process: what it ran, its tables."""
    ran = []

    def wend(*words):
        ran.append(words[:2])
        alone = ["--num-workers", "0"] if words[0] == "pseudo-boxes" else []
        with kept_logging():
            run_command([*words, *alone])

    monkeypatch.setattr(photos, "wend", wend)

    def call(*more):
        entries = [word for pair in TINY.items() for word in pair]
        config = REPOSITORY / "configs/photos_small.yaml"
        flags = ["--method", "border", "--config-file", config, "--weights", "", "--set", *entries]
        words = ["few", *more, "--datasets-root", tmp_path, "--output", tmp_path / "out", *flags]
        ran.clear()
        photos.main([str(word) for word in words])
        return list(ran), capsys.readouterr().out

    toy = DataSets(toy_root.parent).get("toy_test")
    few, root = photos.as_photos([toy.take(range(10))], "few")
    photos.declare(tmp_path / "few.yaml", root, few, truth=few.truth)
    return call


@pytest.mark.slow
def test_a_study_of_few_photos_compares_and_does_nothing_twice(study, tmp_path):
    flags = ("--seeds", 3, "--thirds", 0, 1, "--made", "together", "--again")
    ran, tables = study(*flags)
    assert ran.count(("train", "--engine")) == 4
    assert ran.count(("train", "--eval-only")) == 4
    assert "few, third 0 | 4, others" in tables
    assert "all          | 7, others" in tables
    learned = DataSets().get(str(tmp_path / "out/few/datasets_1/border_learned.yaml"))
    tested = DataSets().get(str(tmp_path / "out/few/datasets_1/photos_test.yaml"))
    assert not {*learned.keys} & {*tested.keys}
    assert len(learned) + len(tested) == 10
    run = tmp_path / "out/few/datasets_0/border/seed3"
    files = [folder / "inference/photos_test/metrics.json" for folder in (run, run / "one_look")]
    two, one = (json.loads(file.read_text())["original"]["gt_known_loc"] for file in files)
    rows = [row for row in tables.splitlines() if "few, third 0" in row and "4, others" in row]
    shown = {row.split("|")[3].strip(): row.split("|")[4].strip() for row in rows}
    assert (shown["detector"], shown["detector, one look"]) == (f"{two:.1f}", f"{one:.1f}")
    again, same = study(*flags)
    assert same == tables
    assert {words[0] for words in again} == {"pseudo-boxes"}  # which finds its boxes
