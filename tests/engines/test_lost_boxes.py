"""A training on boxes that no detector sees ends in its first epoch; what is left is counted."""

import json

import pytest
import torch
from engine_runs import CROP, build, config, losses, run
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.losses import LocalizationLoss, count_positives
from wend.run import resolve

ALL = [("detectron2", name) for name in ("fcos", "rcnn", "cln", "scr", "detr")]
ALL += [("torchvision", name) for name in ("fcos", "rcnn", "scr", "detr")]
WITHOUT_WE = {"WEND.LOSS": "none"}
OWN = {"scr": WITHOUT_WE, "cln": {"MODEL.ANCHOR_GENERATOR.SIZES": "[[16]]"}}


@pytest.fixture
def declare(tmp_path):
    """Writes 8 images of 80x72 and the YAML of a data set of these boxes x, y, w, h."""

    def write(boxes):
        for number in range(8):
            path = tmp_path / f"images/{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (80, 72), (30 * number, 90, 90)).save(path)
        images = [{"id": i, "file_name": f"{i}.png", "width": 80, "height": 72} for i in range(8)]
        annotations = [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)
        ]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
        (tmp_path / "boxes.json").write_text(json.dumps(content))
        path = tmp_path / "photos.yaml"
        path.write_text(
            "format: folder\nimages: ./images\npseudo_boxes: {source: coco, path: ./boxes.json}\n"
        )
        return {
            "DATASETS.TRAIN": f"('{path}',)",
            "SOLVER.IMS_PER_BATCH": "4",
            "SOLVER.WARMUP_ITERS": "0",
        }

    return write


def ends(engine, detector, changes, output_dir, capsys):
    """The error of a run that ends in its first epoch, before anything is evaluated or saved."""
    changes = {**changes, **OWN.get(detector, {})}
    assert run(engine, output_dir, detector=detector, changes=changes) == 2
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    names = {path.name for path in output_dir.iterdir()}
    assert "first_epoch.json" in names
    assert not names & {"curve.csv", "inference", "model_final.pth", "last_checkpoint"}
    (error,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    return error


TINY = [[10, 20, 1, 30]] * 8


def test_a_training_on_boxes_of_a_pixel_ends(engine, declare, tmp_path, capsys):
    # one epoch: the run ends at what would be its last step, and does not evaluate either
    changes = {**declare(TINY), "WEND.EPOCHS": "1"}
    error = ends(engine, "fcos", changes, tmp_path / "out", capsys)
    assert "none is left: 8 of 8 boxes to learn from were lost on the way to the detec" in error
    assert "(8 are at most a pixel wide or high)" in error


def test_names_that_do_not_match_end_it_before_it_begins(declare, tmp_path):
    changes = declare([[20, 20, 40, 40]] * 8)
    file = tmp_path / "boxes.json"
    content = file.read_text()

    def data_set(*renamed):
        text = content
        for number in renamed:
            text = text.replace(f'"{number}.png"', f'"photo {number}.png"')
        file.write_text(text)
        cfg = config("torchvision", changes={**changes, "WEND.PROTOCOLS": "('original',)"})
        return resolve(cfg, DataSets()).training

    assert data_set().left_out == {}
    only_one = data_set(3)
    assert only_one.left_out == {"images of the source that the data set lacks": 1}
    assert len(only_one.images) == 7
    with pytest.raises(
        InputError, match=r"photos: 6 of 8 images have no box, and 6 of the 8 images"
    ):
        data_set(0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("only_with_boxes", ["True", "False"])
def test_a_quarantine_of_all_that_has_a_box_ends_it_before_it_begins(
    declare, only_with_boxes, tmp_path
):
    listed = tmp_path / "listed.txt"
    listed.write_text("0.png\n1.png\n")
    changes = {
        **declare([[20, 20, 40, 40]] * 2),
        "WEND.DATA.QUARANTINE": str(listed),
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": only_with_boxes,
    }
    cfg = config("torchvision", changes=changes)
    with pytest.raises(InputError, match=r"listed.txt lists every image of photos that has a box"):
        resolve(cfg, DataSets())


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), ALL)
def test_a_training_of_each_detector_ends(engine, detector, declare, tmp_path, capsys):
    changes = declare([[20, 20, 40, 40], *TINY[1:]])
    error = ends(engine, detector, changes, tmp_path / "out", capsys)
    assert "7 of 8 boxes to learn from were lost" in error
    assert "WEND.DATA.MAX_LOST_SHARE allows 20 %" in error
    changes["WEND.DATA.MAX_LOST_SHARE"] = "0.9"
    chosen = {**changes, **OWN.get(detector, {})}
    assert run(engine, tmp_path / "more", detector=detector, changes=chosen) == 0
    counts = json.loads((tmp_path / "more/first_epoch.json").read_text())
    assert (counts["boxes"], counts["thin"], counts["positives"]["boxes"]) == (8, 7, 1)


@pytest.mark.slow
@pytest.mark.detectron2
def test_two_processes_count_together_and_both_end(declare, tmp_path, capfd):
    flags = ("--num-gpus", "2")
    changes = declare([[20, 20, 40, 40], *TINY[1:]])
    assert run("detectron2", tmp_path / "out", *flags, changes=changes) == 2
    assert "7 of 8 boxes to learn from were lost" in capfd.readouterr().err
    changes["WEND.DATA.MAX_LOST_SHARE"] = "1.0"
    assert run("detectron2", tmp_path / "more", *flags, changes=changes) == 0
    counts = json.loads((tmp_path / "more/first_epoch.json").read_text())
    assert (counts["images"], counts["boxes"], counts["positives"]["boxes"]) == (8, 8, 1)


@pytest.mark.parametrize("kept", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_images_without_boxes_are_counted_as_they_are_sampled(
    engine, declare, tmp_path, capsys, kept
):
    changes = {
        **declare([[20, 20, 40, 40]] * 4),
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": str(not kept),
        "DATALOADER.NUM_WORKERS": "1",
        "WEND.EPOCHS": "1",
    }
    assert run(engine, tmp_path / "out", changes=changes) == 0
    what = "kept, as images without an object" if kept else "left out"
    assert f"on the pseudo boxes of 4 images; 4 images without one are {what}" in (
        capsys.readouterr().out
    )
    counts = json.loads((tmp_path / "out/first_epoch.json").read_text())
    images, without, boxes = counts["images"], counts["without_box"], counts["positives"]["boxes"]
    assert (images, without, boxes) == ((8, 4, 4) if kept else (4, 0, 4))
    name = "model_0000001.pth" if kept else "model_0000000.pth"  # of 2 and of 1 step
    assert (tmp_path / "out" / name).is_file()


@pytest.mark.detectron2
def test_an_epoch_of_detectron2s_other_sampler():
    from wend.d2.catalog import detectron2_data_sets

    def max_iter(**changes):
        changes = {f"DATALOADER.{name}": str(value) for name, value in changes.items()}
        cfg = config("detectron2", changes={"WEND.EPOCHS": "2", **changes})
        return resolve(cfg, detectron2_data_sets()).cfg.SOLVER.MAX_ITER

    assert max_iter() == 2 * 3  # 24 images, batch 8
    assert max_iter(SAMPLER_TRAIN="RepeatFactorTrainingSampler") == 2 * 3
    with pytest.raises(InputError, match=r"WEND\.EPOCHS and DATALOADER\.SAMPLER_TRAIN: Repeat"):
        max_iter(SAMPLER_TRAIN="RepeatFactorTrainingSampler", REPEAT_THRESHOLD=0.5)


# ---- positives ----

# Stage 3 has stride 8. Detectron2's locations are at 4, 12, 20, ...: the first box holds 12 and 20
# along each axis, both less than 1.5 strides from its centre; the second lies between them.
# Torchvision's are at 0, 8, 16, ...: 16 alone is inside the first box, and the second takes it.
BOXES = [[8.0, 8, 24, 24], [13, 13, 19, 19]]
EXPECTED = {
    "detectron2": {"fcos": (2, 4, 1), "detr": (2, 2, 0), "scr": (2, 1, 1)},
    "torchvision": {"fcos": (2, 1, 1), "detr": (2, 2, 0), "scr": (2, 1, 1)},
}


def crops():
    images = torch.randint(0, 256, (2, 3, CROP, CROP), dtype=torch.uint8)
    return [(images[0], torch.tensor(BOXES)), (images[1], torch.zeros(0, 4))]


@pytest.mark.parametrize("detector", EXPECTED["detectron2"])
def test_positives_per_box(engine, detector):
    model = build(engine, config(engine, detector, OWN.get(detector)))
    (counted,) = count_positives(model)
    losses(engine, model, crops())
    assert counted.read() == EXPECTED[engine][detector]


@pytest.mark.parametrize(("engine", "detector"), [p for p in ALL if p[1] in ("rcnn", "cln")])
def test_positives_of_sampled_proposals_are_those_of_the_classifier(engine, detector, monkeypatch):
    labels = []

    def unsupervised(self, context, **more):
        labels.append(context.labels)
        return {}

    monkeypatch.setattr(LocalizationLoss, "unsupervised_of", unsupervised)
    model = build(engine, config(engine, detector, OWN.get(detector)))
    (counted,) = count_positives(model)
    losses(engine, model, crops())
    boxes, samples, without = counted.read()
    assert (boxes, samples) == (2, int((labels[-1] == 1).sum()))
    assert without == 0  # each true box is a proposal, too
