"""What users of Detectron2 expect works: its catalog, its evaluators, its loaders, its trainer."""

import json
import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
)
from detectron2.data.datasets import register_coco_instances
from detectron2.data.detection_utils import read_image
from detectron2.data.transforms import Resize
from detectron2.evaluation import COCOEvaluator, inference_on_dataset
from detectron2.structures import Boxes, BoxMode, Instances
from engine_runs import CROP, RESIZE, d2_config, run
from torch import nn

import wend.cli.parser
from wend.config import check_config
from wend.d2 import Trainer, WSOLDatasetMapper, WSOLEvaluator
from wend.d2.catalog import data_set_of_dicts, dataset_dict, detectron2_data_sets
from wend.d2.frames import PredictsOnCrops
from wend.datasets.catalog import DataSets
from wend.errors import InputError, NonFiniteLossError
from wend.formats.coco import records_to_coco
from wend.losses import LocalizationLoss
from wend.run import resolve

pytestmark = pytest.mark.detectron2


class _Truth(nn.Module):
    """Predicts the true boxes, in pixels of its input's height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.truth = {row.image_id: row.gt_boxes for row in DataSets().get("toy_test")}

    def forward(self, batch):
        outputs = []
        for example in batch:
            instances = Instances((example["height"], example["width"]))
            boxes = torch.tensor(self.boxes_of(example), dtype=torch.float32)
            instances.pred_boxes, instances.scores = Boxes(boxes), torch.ones(len(boxes))
            instances.pred_classes = torch.zeros(len(boxes), dtype=torch.long)
            outputs.append({"instances": instances})
        return outputs

    def boxes_of(self, example):
        return self.truth[example["image_id"]]


class _TruthInCrops(_Truth):
    def boxes_of(self, example):
        assert (example["height"], example["width"]) == (CROP, CROP)
        return example["frame"].to_frame(super().boxes_of(example))


class _DetectorOnCrops(PredictsOnCrops, _TruthInCrops):
    """A detector of ours that is right everywhere."""


@pytest.fixture
def perfect():
    return _DetectorOnCrops().eval()


def test_detectron2s_coco_evaluator_gives_a_perfect_detector_ap_100(perfect, tmp_path):
    cfg = d2_config()
    loader = Trainer.build_test_loader(cfg, "toy_test")
    evaluator = COCOEvaluator("toy_test", output_dir=str(tmp_path), use_fast_impl=False)
    results = inference_on_dataset(perfect, loader, evaluator)
    assert results["bbox"]["AP"] == pytest.approx(100)


def test_our_evaluator_scores_any_model_through_detectron2s_own_mapper_and_loader(tmp_path):
    loader = build_detection_test_loader(d2_config(), "toy_test")
    assert "frame" not in next(iter(loader))[0]
    evaluator = WSOLEvaluator(d2_config(), "toy_test", output_dir=tmp_path)
    results = inference_on_dataset(_Truth().eval(), loader, evaluator)
    assert results["original"]["gt_known_loc"] == 100
    assert (tmp_path / "detections.json").is_file()


def test_a_detector_that_is_not_ours_predicts_in_original_pixels_too(monkeypatch, tmp_path):
    from detectron2.engine import DefaultTrainer

    monkeypatch.setattr(DefaultTrainer, "build_model", classmethod(lambda *_: _TruthInCrops()))
    model = Trainer.build_model(d2_config()).eval()
    results = Trainer.test(d2_config("fcos", {"OUTPUT_DIR": str(tmp_path)}), model)
    assert results["original"]["gt_known_loc"] == 100


def test_a_deep_copy_of_a_model_predicts_with_its_own_weights(tmp_path):
    """As the averages of weights (EMA) and mean teachers of Detectron2's projects need it."""
    stock = {
        "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
        "MODEL.ROI_HEADS.NAME": "StandardROIHeads",
        "MODEL.ROI_HEADS.NUM_CLASSES": "1",
        **{"WEND.LOSS": "none", "WEND.ETA": "1.0"},
    }
    changes = {"OUTPUT_DIR": str(tmp_path)}
    for cfg in (d2_config("fcos", changes), d2_config("rcnn", {**changes, **stock})):
        model = Trainer(cfg).model.eval()
        copy = deepcopy(model)
        batch = next(iter(Trainer.build_test_loader(cfg, "toy_test")))
        scores = model(batch)[0]["instances"].scores
        assert torch.equal(copy(batch)[0]["instances"].scores, scores)
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter.zero_()
        assert torch.equal(model(batch)[0]["instances"].scores, scores)
        assert not torch.equal(copy(batch)[0]["instances"].scores, scores)


def test_boxes_reach_the_files_in_double_precision(perfect):
    """Detectron2's Boxes are float32; the files hold what the frame's arithmetic gives."""
    batch = next(iter(Trainer.build_test_loader(d2_config(), "toy_test")))
    (output,) = perfect(batch)
    crop = torch.tensor(_TruthInCrops().boxes_of({**batch[0], "height": CROP, "width": CROP}))
    expected = batch[0]["frame"].to_original(crop.float().double())
    assert torch.equal(output["boxes"], expected)
    assert torch.equal(output["instances"].pred_boxes.tensor, expected.float())
    assert output["instances"].image_size == (batch[0]["height"], batch[0]["width"])


@pytest.fixture
def coco_set(tmp_path):
    """The toy training images with their truth, registered as any COCO set of two classes."""
    truth = DataSets().get("toy_train")
    content = records_to_coco(truth)
    content["categories"] = [{"id": 4, "name": "wren"}, {"id": 9, "name": "gull"}]
    for row in content["annotations"]:
        row["category_id"] = 9 if row["image_id"] % 2 else 4
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(content))
    root = Path(truth.file_names[0]).parents[1]
    register_coco_instances("coco_wrens", {}, str(path), str(root))
    yield "coco_wrens"
    DatasetCatalog.remove("coco_wrens")
    MetadataCatalog.remove("coco_wrens")


@pytest.mark.parametrize("exif", ["apply", "ignore"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_of_a_set_of_detectron2_lie_on_the_objects(tmp_path, exif, orientation):
    """Detectron2 reads images upright, so its sets are upright unless their metadata says not."""
    stored = Image.new("RGB", (60, 40))
    stored.paste((255, 255, 255), (34, 4, 56, 16))
    tag = Image.Exif()
    tag[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=tag)
    pixels = read_image(str(tmp_path / "a.png"), "RGB") if exif == "apply" else np.asarray(stored)
    ys, xs = np.nonzero(pixels[..., 0])
    box = [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]
    entry = {
        **{"file_name": str(tmp_path / "a.png"), "image_id": 1, "category_id": 0},
        **{"height": pixels.shape[0], "width": pixels.shape[1]},
        "annotations": [{"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}],
    }
    DatasetCatalog.register("turned", lambda: [entry])
    try:
        if exif == "ignore":
            MetadataCatalog.get("turned").exif = "ignore"
        data_set = detectron2_data_sets().get("turned")
    finally:
        DatasetCatalog.remove("turned")
        MetadataCatalog.remove("turned")
    sample = WSOLDatasetMapper(True, resize=64, crop=56)(
        dataset_dict(data_set[0], data_set.truth[0])
    )
    bright = sample["image"][0] > 128
    ys, xs = bright.any(1).nonzero(), bright.any(0).nonzero()
    expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    boxes = sample["instances"].gt_boxes.tensor
    assert torch.allclose(boxes, torch.tensor([expected]).float(), atol=1.5)


def test_a_set_of_register_coco_instances_can_be_trained_and_evaluated_on(coco_set, tmp_path):
    names = {"DATASETS.TRAIN": f"('{coco_set}',)", "DATASETS.TEST": f"('{coco_set}',)"}
    assert run("detectron2", tmp_path / "out", changes={**names, "WEND.EPOCHS": "1"}) == 0
    folder = tmp_path / "out" / "inference" / coco_set
    entry = json.loads((folder / "metrics.json").read_text())["original"]
    assert entry["num_images"] == 24
    ours, theirs = DataSets().get("toy_train"), detectron2_data_sets().get(coco_set)
    assert theirs.truth.boxes == pytest.approx(ours.truth.boxes)
    assert set(theirs.class_ids.tolist()) == {0, 1}


def test_other_commands_know_what_an_imported_file_registered_with_detectron2(
    coco_set, tmp_path, capsys, undrawn_figures
):
    names = {"DATASETS.TRAIN": f"('{coco_set}',)", "DATASETS.TEST": f"('{coco_set}',)"}
    assert run("detectron2", tmp_path / "out", changes={**names, "WEND.EPOCHS": "1"}) == 0
    assert wend.cli.parser.main(["report", str(tmp_path / "out")]) == 0
    detections = tmp_path / "out/inference" / coco_set / "detections.json"
    command = ["evaluate", "--ground-truth", coco_set, "--detections", str(detections)]
    assert wend.cli.parser.main([*command, "--output", str(tmp_path / "table")]) == 0
    ours = json.loads((tmp_path / "table/metrics.json").read_text())
    theirs = json.loads(detections.with_name("metrics.json").read_text())
    assert ours["original"]["gt_known_loc"] == theirs["original"]["gt_known_loc"]


def test_a_dict_that_is_not_standard_is_named():
    DatasetCatalog.register("odd_dicts", lambda: [{"file_name": "a.jpg", "image_id": 1}])
    try:
        with pytest.raises(InputError, match=r"odd_dicts: dict 0 \(a.jpg\) has no height, width"):
            detectron2_data_sets().get("odd_dicts")
    finally:
        DatasetCatalog.remove("odd_dicts")


@pytest.fixture
def register_dicts():
    """``DatasetCatalog.register`` for the time of a test."""
    names = []

    def add(name, dicts):
        names.append(name)
        DatasetCatalog.register(name, lambda: dicts)

    yield add
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


@pytest.mark.parametrize("key", ["bbox", "bbox_mode", "category_id"])
def test_an_annotation_that_is_not_standard_is_named(register_dicts, key):
    dicts = DatasetCatalog.get("toy_train")
    del dicts[3]["annotations"][0][key]
    register_dicts("odd_annotations", dicts)
    with pytest.raises(InputError, match=rf"odd_annotations: dict 3 \(.*annotation has no {key};"):
        detectron2_data_sets().get("odd_annotations")


def test_a_category_that_is_no_number_is_named(register_dicts):
    dicts = DatasetCatalog.get("toy_train")
    dicts[0]["annotations"][0]["category_id"] = "wren"
    register_dicts("odd_categories", dicts)
    with pytest.raises(InputError, match=r"odd_categories: dict 0 .*whole number, got 'wren'"):
        detectron2_data_sets().get("odd_categories")


def test_file_names_may_be_paths(register_dicts):
    dicts = DatasetCatalog.get("toy_train")
    for entry in dicts:
        entry["file_name"] = Path(entry["file_name"])
    register_dicts("of_paths", dicts)
    names = detectron2_data_sets().get("of_paths").file_names
    assert names == DataSets().get("toy_train").file_names


def test_another_set_of_detectron2_under_our_name_is_refused():
    ours = DatasetCatalog.data["toy_test"]
    DatasetCatalog.remove("toy_test")
    DatasetCatalog.register("toy_test", lambda: DatasetCatalog.get("toy_train")[:3])
    try:
        with pytest.raises(InputError, match=r"'toy_test' is registered with Detectron2, and WEND"):
            detectron2_data_sets().get("toy_test")
    finally:
        DatasetCatalog.remove("toy_test")
        DatasetCatalog.register("toy_test", ours)
    assert len(detectron2_data_sets().get("toy_test")) == 12


def test_crowds_are_no_boxes_for_the_mapper_either():
    (row,) = DatasetCatalog.get("toy_train")[:1]
    mapper = WSOLDatasetMapper(d2_config(), is_train=True)
    plain = mapper(row)
    crowd = {**row["annotations"][0], "iscrowd": 1}
    example = mapper({**row, "annotations": [*row["annotations"], crowd]})
    assert example["box_counts"].boxes == plain["box_counts"].boxes


@pytest.mark.parametrize("value", ["0", "", 2, 0.5, []])
def test_crowds_of_detectron2s_dicts_follow_the_rule_of_all_readers(value):
    rows = DatasetCatalog.get("toy_train")[:2]
    rows[1]["annotations"] = [{**rows[1]["annotations"][0], "iscrowd": value}]
    with pytest.raises(
        InputError, match=r'dict 1 .*: an annotation: expected "iscrowd": 0, 1, true'
    ):
        data_set_of_dicts("d2", rows)
    with pytest.raises(InputError, match='an annotation: expected "iscrowd": 0, 1, true or false'):
        WSOLDatasetMapper(d2_config(), is_train=True)(rows[1])


@pytest.mark.parametrize("width", [-1, 0, None, "64", 0.5])
def test_sizes_that_detectron2s_dicts_lack_are_read_from_headers(width):
    rows = DatasetCatalog.get("toy_train")[:3]
    sizes = [[row["width"], row["height"]] for row in rows]
    rows[1]["width"], rows[2]["height"] = width, float(rows[2]["height"])
    assert data_set_of_dicts("d2", rows).sizes.tolist() == sizes
    rows[1]["file_name"] = "no.png"
    assert list(data_set_of_dicts("d2", rows).unreadable) == [1]


def test_a_file_of_two_of_detectron2s_dicts_is_an_error():
    (row,) = DatasetCatalog.get("toy_train")[:1]
    with pytest.raises(InputError, match=r"dicts 0 and 1 are both of .*; expected all boxes of an"):
        data_set_of_dicts("d2", [row, {**row, "image_id": 99}])


def test_detectron2s_own_mapper_trains_our_detector(tmp_path):
    changes = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "2", "SOLVER.WARMUP_ITERS": "0"}
    cfg = d2_config("fcos", {**changes, "OUTPUT_DIR": str(tmp_path)})
    sizes = [Resize((CROP, CROP))]
    trainer = Trainer(cfg, mapper=DatasetMapper(cfg, is_train=True, augmentations=sizes))
    trainer.train()
    assert trainer.iter == 2
    assert trainer.first_epoch.counts.boxes > 0


def test_a_loss_that_is_nan_changes_no_weight_where_a_trainer_takes_its_own_steps(
    tmp_path, monkeypatch
):
    class Own(Trainer):
        def run_step(self):
            own = self._trainer
            terms = own.model(next(own._data_loader_iter))
            own.optimizer.zero_grad()
            sum(terms.values()).backward()
            weights[:] = [parameter.detach().clone() for parameter in own.model.parameters()]
            own.optimizer.step()

    joint = LocalizationLoss.joint

    def second_is_nan(loss, terms):
        factor = math.nan if trainer.iter == 1 else 1.0
        return {name: factor * term for name, term in joint(loss, terms).items()}

    weights = []
    monkeypatch.setattr(LocalizationLoss, "joint", second_is_nan)
    changes = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "3", "SOLVER.WARMUP_ITERS": "0"}
    trainer = Own(d2_config("scr", {**changes, "OUTPUT_DIR": str(tmp_path)}))
    with pytest.raises(NonFiniteLossError, match="iteration 1: process 0: loss"):
        trainer.train()
    assert all(map(torch.equal, weights, trainer.model.parameters()))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("WEND.MAX_BOXES", "500", "WEND.MAX_BOXES"),
        ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.ENABLED: float16 needs a GPU"),
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "WEND.LOSS: GeneralizedRCNN is not one of"),
    ],
)
def test_a_trainer_in_ones_own_script_checks_its_config(tmp_path, entry, value, message):
    cfg = d2_config("rcnn", {"OUTPUT_DIR": str(tmp_path)})
    cfg.merge_from_list([entry, value])
    with pytest.raises(InputError, match=message):
        Trainer(cfg)


def test_a_trainer_in_ones_own_script_names_entries_without_effect(tmp_path, caplog):
    cfg = d2_config("fcos", {"MODEL.MASK_ON": "True", "OUTPUT_DIR": str(tmp_path)})
    with caplog.at_level("WARNING", logger="wend"):
        Trainer(cfg)
    assert "config entry MODEL.MASK_ON: has no effect" in caplog.text


@pytest.mark.parametrize("period", [0, 2])
def test_a_trainer_in_ones_own_script_resolves_epochs_as_the_command_does(tmp_path, period):
    iterations = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "3", "TEST.EVAL_PERIOD": str(period)}
    for changes, length in (({}, 6), (iterations, 3)):
        cfg = d2_config("fcos", {**changes, "OUTPUT_DIR": str(tmp_path)})
        trainer = Trainer(cfg)
        assert trainer.max_iter == length
    trainer.train()
    assert trainer.iter == 3


def test_a_trainer_takes_another_mapper_and_an_own_loader(tmp_path):
    seen = []

    def mapper(dataset_dict):
        seen.append(dataset_dict["image_id"])
        return WSOLDatasetMapper(cfg, is_train=True)(dataset_dict)

    changes = {"WEND.EPOCHS": "0", "SOLVER.MAX_ITER": "1", "SOLVER.WARMUP_ITERS": "0"}
    cfg = d2_config("fcos", {**changes, "OUTPUT_DIR": str(tmp_path)})
    Trainer(cfg, mapper=mapper).train()
    assert len(seen) >= 8

    class Own(Trainer):
        @classmethod
        def build_train_loader(cls, cfg):
            seen.append("own")
            return build_detection_train_loader(cfg, mapper=mapper, aspect_ratio_grouping=False)

        @classmethod
        def build_evaluator(cls, cfg, name):
            seen.append(name)
            return super().build_evaluator(cfg, name)

    Own(cfg, overwrite=True).train()
    assert "own" in seen
    assert seen[-1] == "toy_test"


@pytest.mark.parametrize(("flip", "axis"), [("horizontal", 2), ("vertical", 1), ("none", None)])
def test_detectron2s_random_flip_acts(flip, axis):
    cfg = d2_config("fcos", {"INPUT.RANDOM_FLIP": flip})
    (row,) = DatasetCatalog.get("toy_train")[:1]
    mapper = WSOLDatasetMapper(cfg, is_train=True)
    plain = WSOLDatasetMapper(cfg, is_train=True)
    plain.crop_mapper.flip = "none"
    mirrored = 0
    for seed in range(20):
        torch.manual_seed(seed)
        example = mapper(row)
        torch.manual_seed(seed)
        other = plain(row)
        if torch.equal(example["image"], other["image"]):
            continue
        mirrored += 1
        assert torch.equal(example["image"], other["image"].flip(axis))
        boxes, expected = example["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor
        low, high = (0, 2) if flip == "horizontal" else (1, 3)
        assert torch.allclose(boxes[:, low], CROP - expected[:, high], atol=1e-4)
    assert (mirrored > 4) == (flip != "none")
    assert RESIZE > CROP


def test_four_epochs_read_and_choose_once(tmp_path, monkeypatch):
    """One read of each data set and of the class file, one choice of fixed boxes per frame."""
    import wend.run
    from wend.classes.predictions import write_class_predictions
    from wend.evaluation import fixed_boxes

    path = tmp_path / "classes.json"
    ids = {row.key: [row.class_id, *range(100, 104)] for row in DataSets().get("toy_test")}
    write_class_predictions(path, ids)
    calls = {"classes": 0, "choices": 0, "data sets": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    read = counted("classes", wend.run.read_class_predictions)
    monkeypatch.setattr(wend.run, "read_class_predictions", read)
    choose = counted("choices", fixed_boxes.choose_fixed_boxes)
    monkeypatch.setattr(fixed_boxes, "choose_fixed_boxes", choose)
    monkeypatch.setattr(DataSets, "read", counted("data sets", DataSets.read))
    changes = {"WEND.EPOCHS": "4", "WEND.CLASS_PREDICTIONS": str(path)}
    assert run("detectron2", tmp_path / "out", changes=changes) == 0
    assert calls == {"classes": 1, "choices": 2, "data sets": 2}  # a crop's frame and the image's


def test_the_config_that_a_run_wrote_is_taken_as_it_lies_there(tmp_path):
    assert run("detectron2", tmp_path / "out") == 0
    written = str(tmp_path / "out" / "config.yaml")
    cfg = d2_config("fcos")
    cfg.merge_from_file(written)
    check_config(cfg)
    assert resolve(cfg, detectron2_data_sets()).cfg.SOLVER.MAX_ITER == 6
