"""wend.evaluation.arrays and wsol_metric: numbers from arrays, batch by batch, of processes."""

import copy
import pickle
import re
import runpy
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_runs import REPOSITORY
from torch import distributed

from wend.errors import InputError
from wend.evaluation.arrays import wsol_scores
from wend.evaluation.collect import detection_table
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import get_protocol
from wend.evaluation.scoring import score_all
from wend.evaluation.wsol_metric import WSOLMetric
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

PROTOCOLS = ["original", "psol-crop224"]
DOCS = (REPOSITORY / "docs/evaluate.md").read_text(encoding="utf-8")
DOCS = DOCS[DOCS.index("## From arrays") :]
EXAMPLES = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def corners(rng, number, width, height):
    boxes = np.sort(rng.uniform(0, 1, (number, 2, 2)), 1).reshape(number, 4)
    return boxes * [width, height, width, height]


def batch(seed=0, number=40):
    """Random images as a batch: several true boxes, from none to six predicted ones, ties."""
    rng = np.random.default_rng(seed)
    preds, target = [], []
    for i in range(number):
        width, height = rng.integers(40, 500, 2).tolist()
        truth = corners(rng, rng.integers(1, 4), width, height)
        boxes = corners(rng, rng.integers(0, 7), width, height)
        boxes[: len(truth)] = truth[: len(boxes)] * 0.9
        scores = rng.integers(0, 5, len(boxes)).astype(float)
        preds.append({"boxes": boxes, "scores": scores, "class_ranking": rng.permutation(7)[:5]})
        target.append(
            {"image_id": i, "size": (width, height), "boxes": truth, "class_id": i * 7 // number}
        )
    return preds, target


def from_tables(preds, target, metrics=()):
    """The same by the way that files take, protocol -> label -> value."""
    records = [
        ImageRecord(d["image_id"], "x", *d["size"], class_id=d["class_id"], gt_boxes=d["boxes"])
        for d in target
    ]
    data_set = DataSet.from_records(records)
    rows = [(t["image_id"], p["boxes"], p["scores"]) for p, t in zip(preds, target, strict=True)]
    rankings = {
        t["image_id"]: p["class_ranking"].tolist() for p, t in zip(preds, target, strict=True)
    }
    scores = score_all(
        data_set,
        detection_table(data_set, rows),
        [get_protocol(name) for name in PROTOCOLS],
        [5, 1, None],
        ClassPredictions(rankings),
        metrics=choose_metrics(metrics),
    )
    return {
        name: {column.label: cell.value for column, cell in result.cells.items()}
        for name, result in scores.items()
    }


@pytest.fixture
def whole():
    return batch()


def metric(**more):
    return WSOLMetric(PROTOCOLS, **{"max_boxes": [5, 1, None], **more})


def flat(tables):
    return {f"{name}:{label}": v for name, row in tables.items() for label, v in row.items()}


def test_function_and_class_compute_what_files_do(whole):
    preds, target = whole
    expected = from_tables(preds, target, ["mean_iou"])
    assert len({*expected["original"].values()}) > 5
    ours = metric(metrics=["mean_iou"])
    for start in range(0, 40, 7):
        ours.update(preds[start : start + 7], target[start : start + 7])
    assert ours.compute() == flat(expected)
    for name in PROTOCOLS:
        result = wsol_scores(
            *[[d[key] for d in preds] for key in ("boxes", "scores")],
            *[[d[key] for d in target] for key in ("boxes", "size")],
            class_ids=[d["class_id"] for d in target],
            class_ranking=[d["class_ranking"] for d in preds],
            protocol=name,
            max_boxes=[5, 1, None],
            metrics=["mean_iou"],
        )
        assert {c.label: cell.value for c, cell in result.cells.items()} == expected[name]
    alone = WSOLMetric("original")
    alone.update(preds, target)
    assert alone.compute()["gt_known_loc_multi@5"] == expected["original"]["gt_known_loc_multi@5"]


def test_the_order_of_images_changes_no_bit(whole):
    numbers = []
    for order in (range(40), np.random.default_rng(1).permutation(40)):
        ours = metric(metrics=["mean_iou"])
        for i in order:
            ours.update(*([rows[i]] for rows in whole))
        numbers.append(ours.compute())
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_any_precision_and_with_gradient_keep_their_values(whole, kind):
    preds, target = whole
    tensors = [
        {
            "boxes": torch.tensor(p["boxes"], dtype=kind).requires_grad_(),
            "scores": torch.tensor(p["scores"], dtype=kind, requires_grad=True),
            "class_ranking": torch.tensor(p["class_ranking"]),
            "labels": torch.ones(len(p["scores"])),
        }
        for p in preds
    ]
    truth = [
        {
            "image_id": torch.tensor([t["image_id"]]),
            "size": torch.tensor(t["size"]),
            "boxes": torch.tensor(t["boxes"], dtype=torch.float64),
            "class_id": torch.tensor(t["class_id"]),
        }
        for t in target
    ]
    arrays = [
        {**p, "boxes": t["boxes"].detach().double().numpy()}
        for p, t in zip(preds, tensors, strict=True)
    ]
    ours = metric()
    ours.update(tensors, truth)
    assert ours.compute() == flat(from_tables(arrays, target))
    lists = metric()
    lists.update([{"boxes": [*p["boxes"]], "scores": [*p["scores"]]} for p in tensors], target)
    assert lists.compute()["original:gt_known_loc"] == ours.compute()["original:gt_known_loc"]


def test_boxes_of_another_format_of_torchvision_are_refused(whole):
    boxes = torch.tensor([[0, 0, 5, 5]])
    boxes.format = SimpleNamespace(name="XYWH")  # as tv_tensors.BoundingBoxes has it
    with pytest.raises(InputError, match="format XYWH: convert"):
        metric().update([{"boxes": boxes, "scores": [1]}], whole[1][:1])


def test_an_image_that_a_sampler_repeats_counts_once_and_a_changed_one_is_an_error(whole):
    preds, target = whole
    once, padded = metric(), metric()
    once.update(preds, target)
    padded.update(preds[:20], target[:20])
    padded.update(preds[10:] + preds[:3], target[10:] + target[:3])
    assert padded.compute() == once.compute()
    assert len(padded) == 40
    changed = {**preds[4], "boxes": preds[4]["boxes"] + 1e-9}
    assert len(changed["boxes"])
    with pytest.raises(InputError, match=r"image 4 came twice, with different boxes: .*reset\(\)"):
        padded.update([changed], [target[4]])
    with pytest.raises(InputError, match="image 4 came twice, with different size, class_id"):
        padded.update([preds[4]], [{**target[4], "size": (600, 600), "class_id": 5}])
    new = {**target[4], "image_id": 99}
    with pytest.raises(InputError, match="image 99 came twice, with different class_id"):
        padded.update([preds[4]] * 2, [new, {**new, "class_id": 6}])
    assert padded.compute() == once.compute()


def test_a_batch_with_a_bad_image_adds_nothing(whole):
    preds, target = whole
    ours = metric()
    with pytest.raises(InputError, match="image 3, predicted boxes: 0 boxes but 1 scores"):
        ours.update([*preds[:3], {"boxes": [], "scores": [0.5]}], target[:4])
    assert len(ours) == 0


def test_states_merge_pickle_copy_and_reset(whole):
    preds, target = whole
    once, parts = metric(), [metric(), metric()]
    once.update(preds, target)
    parts[0].update(preds[:25], target[:25])
    parts[1].update(preds[22:], target[22:])
    copied, unpickled = copy.deepcopy(parts[1]), pickle.loads(pickle.dumps(parts[1]))  # noqa: S301
    parts[0].merge_state(copied)
    assert parts[0].compute() == once.compute()
    unpickled.update(preds[:22], target[:22])
    assert unpickled.compute() == once.compute()
    assert len(parts[1]) == len(copied) == 18
    with pytest.raises(InputError, match="only states of equal ks can be merged"):
        once.merge_state(metric(max_boxes=3))
    once.reset()
    assert not once.update_called
    once.update(preds[:5], target[:5])
    assert once.compute() == metric()(preds[:5], target[:5])


def test_called_it_returns_the_batchs_numbers_and_adds_them(whole):
    preds, target = whole
    ours, once = metric(), metric()
    first = ours(preds[:9], target[:9])
    second = ours(preds[9:], target[9:])
    once.update(preds, target)
    assert first != second
    assert ours.compute() == once.compute()
    assert first == flat(from_tables(preds[:9], target[:9]))


def test_compute_before_update_says_so_and_its_result_is_anew_after_update(whole):
    preds, target = whole
    ours = metric()
    with pytest.raises(InputError, match="no image to compute numbers of; update"):
        ours.compute()
    ours.update(preds[:9], target[:9])
    earlier = ours.compute()
    earlier.clear()
    assert ours.compute() == flat(from_tables(preds[:9], target[:9]))
    ours.update(preds, target)
    assert ours.compute() == flat(from_tables(preds, target))


GOOD = ({"boxes": [[0, 0, 5, 5]], "scores": [1.0]}, {"image_id": "a", "size": (9, 9)})


@pytest.mark.parametrize(
    ("pred", "target", "message"),
    [
        ({"boxes": [[0, 0, np.nan, 5]]}, {}, "image 'a', predicted boxes: box .*nan"),
        ({"boxes": [[0, 0, 5]]}, {}, r"image 'a', predicted boxes: .*\(1, 3\)"),
        ({"boxes": [[5, 0, 1, 5]]}, {}, "image 'a', predicted boxes: box .* ends before"),
        ({"scores": [np.inf]}, {}, "image 'a', predicted boxes: score inf is not finite"),
        ({"scores": [1, 2]}, {}, "image 'a', predicted boxes: 1 boxes but 2 scores"),
        ({"scores": ["x"]}, {}, "image 'a', predicted boxes: expected scores as numbers"),
        ({"class_ids": [1, 2]}, {}, "image 'a': 1 boxes but 2 class_ids"),
        ({"class_ids": [0.5]}, {}, "image 'a', class_ids: expected a class from 0"),
        ({"class_ranking": [1, -1]}, {}, "image 'a', class_ranking: .* got"),
        ({"class_ranking": [3, 1, 2, 0]}, {}, "image 'a', class_ranking: expected five or more"),
        ({"class_ranking": [3, 1, 2, 0, 3]}, {}, r"five or more distinct .* got \[3, 1, 2, 0, 3\]"),
        ({"boxez": 1}, {}, r"preds\[0\] \(image 'a'\) has boxez; expected boxes, scores, and per"),
        ({}, {"labels": [1]}, r"target\[0\] \(image 'a'\) has labels"),
        ({}, {"boxes": []}, "image 'a': has no true box"),
        ({}, {"boxes": None}, "image 'a', true boxes"),
        ({}, {"size": (9,)}, "image 'a', size: expected width and height, got"),
        ({}, {"size": (9, 0)}, r"image 'a', size: .* from 1, got \[9, 0\]"),
        ({}, {"size": (9, 1.5)}, r"image 'a', size: .* got \[9.0, 1.5\]"),
        ({}, {"class_id": -1}, r"image 'a', class_id: expected a class from 0, got \[-1\]"),
        ({}, {"class_id": None}, "image 'a' has no class_id, and protocol psol-crop224 averages"),
        ({}, {"image_id": None}, "image_id: expected a whole number or text, got None"),
        ({}, {"image_id": [1, 2]}, "image_id"),
        ({}, {"image_id": 1.5}, "image_id: expected a whole number or text, got 1.5"),
    ],
)
def test_what_does_not_fit_is_named_in_update(pred, target, message):
    preds = [{**GOOD[0], **pred}]
    targets = [{**GOOD[1], "boxes": [[0, 0, 5, 5]], "class_id": 1, **target}]
    with pytest.raises(InputError, match=message):
        metric().update(preds, targets)


def test_what_is_no_batch_is_named():
    good = {**GOOD[1], "boxes": [[0, 0, 5, 5]]}
    ours = WSOLMetric("original")
    with pytest.raises(InputError, match=r"preds: expected a list with a dict .* got dict"):
        ours.update(GOOD[0], [good])
    with pytest.raises(InputError, match=r"target: expected a list .* got list of int"):
        ours.update([GOOD[0]], [3])
    with pytest.raises(InputError, match="preds are of 1 images, target of 2"):
        ours.update([GOOD[0]], [good, good])
    with pytest.raises(InputError, match=r"target\[0\] \(image 'a'\) lacks size, boxes"):
        ours.update([GOOD[0]], [{"image_id": "a"}])
    with pytest.raises(InputError, match="image 'b' has no class_ranking, and image 'a' has some"):
        ours.update(
            [{**GOOD[0], "class_ranking": range(5)}, GOOD[0]],
            [{**good, "class_id": 1}, {**good, "class_id": 1, "image_id": "b"}],
        )
    with pytest.raises(InputError, match="image 'a' has predicted classes and no class_id"):
        ours.update([{**GOOD[0], "class_ranking": range(5)}], [good])
    with pytest.raises(InputError, match="unknown evaluation protocol 'psol'"):
        WSOLMetric("psol")
    with pytest.raises(InputError, match="metric"):
        WSOLMetric("original", metrics=["mean_iuo"])
    for wrong in (0, [], [1, 0], True, "5", 2.0):
        with pytest.raises(InputError, match="max_boxes"):
            WSOLMetric("original", max_boxes=wrong)
    with pytest.raises(InputError, match=r"expected as many of each.*'scores': 0"):
        wsol_scores([[[0, 0, 1, 1]]], [], [[[0, 0, 1, 1]]], [(9, 9)], protocol="original")
    boxes = [[[0, 0, 1, 1]]] * 2
    with pytest.raises(InputError, match="2 images but 1 different ids"):
        wsol_scores(
            boxes, [[1]] * 2, boxes, [(9, 9)] * 2, protocol="original", image_ids=["a", "a"]
        )


def test_sync_is_torch_distributeds(whole, monkeypatch):
    """A process group of one, and all_gather_object's answer of a second process."""
    preds, target = whole
    once, ours, other = metric(), metric(), metric()
    once.update(preds, target)
    ours.update(preds[:25], target[:25])
    other.update(preds[20:], target[20:])
    own = ours.compute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        ours.sync()
        with pytest.raises(InputError, match="synced already"):
            ours.sync()
        with pytest.raises(InputError, match="unsync"):
            ours.update(preds[:1], target[:1])
        ours.unsync()
        ours.update([], [])
        assert ours.compute() == own
        gather = distributed.all_gather_object

        def with_another(parts, own, group=None):
            gather(parts[:1], own, group)
            parts[:] = [own, list(other._images.by_id.values())]

        monkeypatch.setattr(distributed, "get_world_size", lambda group=None: 2)
        monkeypatch.setattr(distributed, "all_gather_object", with_another)
        ours.update([], [])
        assert ours.compute() == once.compute()
        assert len(ours) == 25
        assert metric(sync_on_compute=False)(preds[:25], target[:25]) == own
    finally:
        distributed.destroy_process_group()


def test_the_documented_examples_run(tmp_path, capsys):
    for example in EXAMPLES[:2]:
        (tmp_path / "example.py").write_text(example)
        runpy.run_path(str(tmp_path / "example.py"))
    printed = capsys.readouterr().out
    stated = re.findall(r"^# (.*)$", "".join(EXAMPLES[:2]), re.MULTILINE)
    assert printed.splitlines() == stated


@pytest.mark.slow
def test_the_documented_example_of_two_processes_runs(tmp_path):
    (tmp_path / "two.py").write_text(EXAMPLES[2])
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "two.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    stated = re.findall(r"^# (.*)$", EXAMPLES[2], re.MULTILINE)
    assert sorted(done.stdout.splitlines()) == stated


def test_boxes_with_classes_of_their_own_give_top5():
    """A box of each class: the true class' box is what is scored, its rank what Top-5 needs."""
    right, wrong = [10, 10, 60, 60], [70, 70, 90, 90]
    preds = [
        {"boxes": [wrong, right], "scores": [0.9, 0.5], "class_ids": [3, 1]},  # Top-5, not Top-1
        {"boxes": [right, wrong], "scores": [0.9, 0.5], "class_ids": [1, 3]},
        {"boxes": [right, wrong], "scores": [0.9, 0.5], "class_ids": [3, 1]},
    ]
    target = [
        {"image_id": i, "size": (100, 100), "boxes": [right], "class_id": 1} for i in range(3)
    ]
    ours = WSOLMetric("original", max_boxes=5)
    ours.update(preds, target)
    numbers = ours.compute()
    assert numbers["gt_known_loc"] == pytest.approx(200 / 3)
    assert numbers["top1_loc"] == pytest.approx(100 / 3)
    assert numbers["top5_loc"] == pytest.approx(200 / 3)
    with pytest.raises(InputError, match="image 9 has no class_ids, and image 0 has some"):
        ours.update([{"boxes": [], "scores": []}], [{**target[0], "image_id": 9}])


def test_boxes_in_another_frame_are_refused_as_those_of_files_are(whole, caplog):
    target = whole[1]
    preds = [{"boxes": t["boxes"], "scores": np.ones(len(t["boxes"]))} for t in target]
    sides = [np.tile(t["size"], 2) for t in target]
    fractions = [{**p, "boxes": p["boxes"] / s} for p, s in zip(preds, sides, strict=True)]
    ours = metric()
    ours.update(fractions, target)
    with pytest.raises(InputError, match=r"predictions: .*fractions"):
        ours.compute()
    counting = metric(implausible="count")
    counting.update(fractions, target)
    counting.compute()
    assert "fractions" in caplog.text
    swapped = metric()
    turned = [{**t, "size": t["size"][::-1]} for t in target]
    swapped.update(preds, turned)
    with pytest.raises(InputError, match=r"ground truth arrays: .*swapped"):
        swapped.compute()
    assert metric()(fractions[:2], target[:2])
