import json
import pickle
from itertools import count, islice

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.data import (
    DatasetCatalog,
    MetadataCatalog,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.structures import BoxMode
from engine_runs import d2_config

from wend.d2 import Trainer, WSOLDatasetMapper, register_wsol_dataset
from wend.d2.catalog import MappedImages
from wend.datasets.catalog import REGISTERED, DataSets
from wend.datasets.importing import import_data_set
from wend.errors import InputError
from wend.loading.order import Order, Repeated, Shuffled
from wend.loading.selection import Selection
from wend.randomness import sample_numbers
from wend.structures.records import ImageRecord

pytestmark = pytest.mark.detectron2


@pytest.fixture
def registered():
    """Names given to it are forgotten after the test."""
    names = []
    with REGISTERED.temporary():
        yield names
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def _lines(root, name):
    return [line.split() for line in (root / "CUB_200_2011" / name).read_text().splitlines()]


def _truth(root):
    """Image id -> [x0, y0, x1, y1] boxes, read from the text file."""
    truth = {}
    for image_id, x, y, w, h in _lines(root, "bounding_boxes.txt"):
        x, y, w, h = map(float, (x, y, w, h))
        truth.setdefault(int(image_id), []).append([x, y, x + w, y + h])
    return truth


def _pseudo(root, split):
    """<class folder>/<file> -> [x, y, w, h] as fractions, read from the JSON files."""
    boxes = {}
    for path in (root / "c2am_boxes" / split / "pseudo_boxes").iterdir():
        boxes.update(json.loads(path.read_text()))
    return {"/".join(key.split("/")[-2:]): box for key, box in boxes.items()}


def test_every_name_of_wend_is_in_detectron2s_catalog():
    assert {"cub_train_c2am", "cub_train", "cub_test", "toy_train_c2am", "toy_test"} <= set(
        DatasetCatalog.list()
    )


@pytest.mark.parametrize("name", ["toy_train_c2am", "toy_train", "toy_test", "toy_test_c2am"])
def test_dicts_are_what_detectron2_expects(name):
    dicts = DatasetCatalog.get(name)
    assert len(dicts) == (24 if "train" in name else 12)
    assert len({row["image_id"] for row in dicts}) == len(dicts)
    for row in dicts:
        with Image.open(row["file_name"]) as image:
            assert image.size == (row["width"], row["height"])
        assert row["annotations"]
        for annotation in row["annotations"]:
            assert annotation["bbox_mode"] == BoxMode.XYXY_ABS
            assert annotation["category_id"] == 0
            assert annotation["iscrowd"] == 0
            assert all(type(value) is float for value in annotation["bbox"])
    assert MetadataCatalog.get(name).thing_classes == ["foreground"]
    assert len(get_detection_dataset_dicts([name])) == len(dicts)  # Detectron2's own checks


def test_dicts_are_a_list_as_json_takes_it_equal_at_every_call_and_not_shared():
    first = DatasetCatalog.get("toy_train_c2am")
    assert type(first) is list
    assert json.loads(json.dumps(first)) == first
    first[0]["annotations"].clear()
    again = DatasetCatalog.get("toy_train_c2am")
    assert again[0]["annotations"]
    assert list(again) == list(DatasetCatalog.get("toy_train_c2am"))
    assert again[-1] == again[23]
    assert again[1:3] == [again[1], again[2]]


def test_c2am_sets_are_annotated_with_the_pseudo_boxes(toy_root):
    pseudo = _pseudo(toy_root, "train")
    for row in DatasetCatalog.get("toy_train_c2am"):
        x, y, w, h = pseudo["/".join(row["file_name"].split("/")[-2:])]
        expected = np.array([x, y, x + w, y + h]) * ([row["width"], row["height"]] * 2)
        (annotation,) = row["annotations"]
        assert annotation["bbox"] == pytest.approx(expected.tolist(), abs=1e-3)


@pytest.mark.parametrize("name", ["toy_train", "toy_test"])
def test_the_other_sets_are_annotated_with_the_truth(toy_root, name):
    truth = _truth(toy_root)
    for row in DatasetCatalog.get(name):
        boxes = [annotation["bbox"] for annotation in row["annotations"]]
        assert boxes == truth[row["image_id"]]


def test_class_ids_are_those_of_the_list_from_0(toy_root):
    labels = {int(i): int(label) - 1 for i, label in _lines(toy_root, "image_class_labels.txt")}
    assert {row["image_id"]: row["class_id"] for row in DatasetCatalog.get("toy_test")} == {
        i: labels[i] for i in range(25, 37)
    }


def test_own_records_can_be_trained_on(registered, tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (80, 40), (10, 200, 30)).save(path)
    calls = []

    def load():
        calls.append(1)
        boxes = {"gt_boxes": [[0, 0, 8, 8]], "pseudo_boxes": [[20, 10, 60, 30]]}
        return [ImageRecord("a", str(path), 80, 40, "x/a.png", 0, **boxes)]

    registered.append("mine_train")
    register_wsol_dataset("mine_train", load)
    assert not calls, "registering must not read"
    changes = {"DATASETS.TRAIN": "('mine_train',)", "SOLVER.IMS_PER_BATCH": "2"}
    batch = next(iter(Trainer.build_train_loader(d2_config("fcos", changes))))
    assert [example["image_id"] for example in batch] == ["a", "a"]
    for example in batch:  # 40 x 20 of 80 x 40 pixels are 32 x 32 of the 64 x 64 squash
        x0, y0, x1, y1 = example["instances"].gt_boxes.tensor[0].tolist()
        assert (x1 - x0, y1 - y0) == pytest.approx((32, 32))
        assert example["image"][:, 0, 0].tolist() == [10, 200, 30]
    assert len(calls) == 1


def test_own_records_can_be_trained_on_their_truth(registered, tmp_path):
    record = ImageRecord(
        1, str(tmp_path / "a.png"), 9, 9, gt_boxes=[[1, 2, 3, 4]], pseudo_boxes=[[0, 0, 9, 9]]
    )
    registered.append("mine_truth")
    register_wsol_dataset("mine_truth", lambda: [record], train_on="gt_boxes")
    (row,) = DatasetCatalog.get("mine_truth")
    assert [annotation["bbox"] for annotation in row["annotations"]] == [[1, 2, 3, 4]]


def test_a_name_that_is_taken_is_an_error(registered):
    with pytest.raises(InputError, match=r"^data set 'toy_test' is registered already; choose"):
        register_wsol_dataset("toy_test", list)


def test_a_name_that_detectron2_has_is_an_error_that_leaves_nothing_behind(registered):
    with pytest.raises(InputError, match=r"^data set 'coco_2017_val' is registered already"):
        register_wsol_dataset("coco_2017_val", list)
    assert "coco_2017_val" not in DataSets().names()


def test_unknown_box_kind_is_an_error(registered):
    with pytest.raises(InputError, match=r"train_on must be one of .*, got 'boxes'"):
        register_wsol_dataset("mine", list, train_on="boxes")
    assert "mine" not in DatasetCatalog.list()


@pytest.fixture(params=["files", "store"])
def source(request, tmp_path, monkeypatch):
    """The toy set as its readers return it, and from an imported store."""
    if request.param == "store":
        monkeypatch.setenv("WEND_STORES", str(tmp_path))
        for name in ("toy_train_c2am", "toy_test"):
            import_data_set(DataSets(), name)
    is_store = DataSets().get("toy_train_c2am").reopen is not None
    assert is_store == (request.param == "store")
    return request.param


def _batches(loader, number):
    torch.manual_seed(0)
    return [
        [
            (
                example["image_id"],
                example["file_name"],
                example["frame"],
                example["image"].numpy().tobytes(),
                example["instances"].gt_boxes.tensor.tolist() if "instances" in example else None,
            )
            for example in batch
        ]
        for batch in islice(loader, number)
    ]


def _as_detectron2(cfg, number):
    """Batches of Detectron2's loader on its list of dicts; each image's crop is drawn by place."""
    mapper, positions = WSOLDatasetMapper(cfg, is_train=True), count()

    def mapped(dataset_dict):
        with sample_numbers(cfg.SEED, next(positions)):
            return mapper(dataset_dict)

    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = 0
    loader = build_detection_train_loader(cfg, mapper=mapped, aspect_ratio_grouping=False)
    return _batches(loader, number)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_training_batches_are_those_of_detectron2s_own_list_of_dicts(source, workers):
    changes = {"SEED": "7", "DATALOADER.NUM_WORKERS": workers}
    cfg = d2_config("fcos", {**changes, "DATASETS.TRAIN": "('toy_train_c2am', 'toy_test')"})
    ours = _batches(Trainer.build_train_loader(cfg), 10)  # 80 of 36 images: into the third pass
    assert ours == _as_detectron2(cfg, 10)


def test_test_batches_are_those_of_detectron2s_own_list_of_dicts(source):
    cfg = d2_config("fcos", {"WEND.TEST_BATCH": "5"})
    mapper = WSOLDatasetMapper(cfg, is_train=False)
    before = build_detection_test_loader(cfg, "toy_test", mapper=mapper, batch_size=5)
    ours = _batches(Trainer.build_test_loader(cfg, "toy_test"), 99)
    assert [len(batch) for batch in ours] == [5, 5, 2]
    assert ours == _batches(before, 99)


def test_detectron2s_other_sampler_works(source):
    changes = {"DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler"}
    cfg = d2_config("fcos", {**changes, "DATALOADER.REPEAT_THRESHOLD": "0.5"})
    ours = _batches(Trainer.build_train_loader(cfg), 5)
    assert len({example[0] for batch in ours[:3] for example in batch}) == 24
    assert ours == _as_detectron2(cfg, 5)


@pytest.mark.parametrize("keep", [False, True])
def test_images_without_a_box_are_left_out_unless_the_config_keeps_them(registered, toy_root, keep):
    records = list(DataSets().get("toy_train_c2am"))
    first = records[0]
    size = (first.width, first.height)
    boxless = [ImageRecord(i, first.file_name, *size, f"x/{i}") for i in (100, 101)]
    registered.append("some_boxless")
    register_wsol_dataset("some_boxless", lambda: [boxless[0], *records[:4], boxless[1]])
    changes = {"DATASETS.TRAIN": "('some_boxless',)", "SOLVER.IMS_PER_BATCH": "1"}
    changes["DATALOADER.FILTER_EMPTY_ANNOTATIONS"] = str(not keep)
    loader = Trainer.build_train_loader(d2_config("fcos", changes))
    images = loader.loader.dataset.images.images
    assert len(images) == (6 if keep else 4)
    assert len(images) == len(get_detection_dataset_dicts(["some_boxless"], filter_empty=not keep))


def test_a_store_goes_to_a_loaders_worker_as_its_path(source):
    mapper = WSOLDatasetMapper(d2_config(), is_train=False)
    images = MappedImages(Selection([DataSets().get("toy_train_c2am")], with_boxes=True), mapper)
    sent = pickle.dumps(images)
    if source == "store":
        assert len(sent) < 1500
    again = pickle.loads(sent)  # noqa: S301
    assert len(again) == 24
    assert again[5]["image_id"] == images[5]["image_id"]


def test_order_of_the_passes_is_detectron2s():
    for size in (1, 7, 9):
        theirs = list(islice(TrainingSampler(size, seed=5), 40))
        order = Order(Shuffled(size), seed=5)
        assert [order[position] for position in range(40)] == theirs
        assert Order(Shuffled(size), seed=5)[33] == theirs[33]


def test_order_of_repeated_images_is_detectron2s():
    factors = torch.tensor([1.0, 2.0, 1.5, 3.25, 1.0])
    theirs = list(islice(RepeatFactorTrainingSampler(factors, seed=5), 60))
    order = Order(Repeated(factors), seed=5)
    assert [order[position] for position in range(60)] == theirs
    assert Order(Repeated(factors), seed=5)[47] == theirs[47]


def test_no_image_to_train_on_is_an_error_that_names_the_data_sets(registered):
    registered.append("boxless")
    register_wsol_dataset("boxless", lambda: [ImageRecord(1, "a.png", 9, 9)])
    with pytest.raises(
        InputError, match=r"DATASETS.TRAIN: no image of boxless has a box to train on"
    ):
        Trainer.build_train_loader(d2_config("fcos", {"DATASETS.TRAIN": "('boxless',)"}))
