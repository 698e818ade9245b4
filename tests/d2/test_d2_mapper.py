import copy

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("detectron2", reason="Detectron2 is not installed")
from detectron2.data.detection_utils import read_image
from detectron2.structures import BoxMode, Instances
from engine_runs import d2_config

from wend.d2 import WSOLDatasetMapper
from wend.loading.box_counts import BoxCounts
from wend.loading.crop import CropMapper

pytestmark = pytest.mark.detectron2


@pytest.fixture
def photo(tmp_path):
    """A 60 x 40 image stored with EXIF orientation 6 (to be shown turned by 90 degrees)."""
    path = tmp_path / "turned.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def _dict(path, *boxes, class_id=3, mode=BoxMode.XYXY_ABS):
    return {
        "file_name": str(path),
        "image_id": 7,
        "width": 60,
        "height": 40,
        "class_id": class_id,
        "annotations": [{"bbox": list(b), "bbox_mode": mode, "category_id": 0} for b in boxes],
    }


def _expected_centre(path):
    """64 x 64 squash of the stored pixels, its centre 56 x 56, with Pillow alone: RGB (H, W, 3)."""
    stored = Image.open(path).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    return np.asarray(stored)[4:60, 4:60]


def test_image_is_not_turned_by_exif_as_detectron2_would(photo):
    assert read_image(str(photo), "RGB").shape == (60, 40, 3)  # Detectron2's own: turned
    mapped = WSOLDatasetMapper(False, resize=64, crop=56)(_dict(photo))
    assert mapped["image"].dtype == torch.uint8
    assert np.array_equal(mapped["image"].permute(1, 2, 0).numpy(), _expected_centre(photo))


def test_a_dict_that_says_so_is_turned_as_detectron2_would(photo):
    turned = {**_dict(photo), "width": 40, "height": 60, "exif": "apply"}
    mapped = WSOLDatasetMapper(False, resize=60, crop=60)(turned)
    expected = Image.fromarray(read_image(str(photo), "RGB")).resize((60, 60), 2)
    assert np.array_equal(mapped["image"].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_bgr_is_the_reversed_order_of_channels(photo):
    mapped = WSOLDatasetMapper(False, resize=64, crop=56, image_format="BGR")(_dict(photo))
    image = mapped["image"].permute(1, 2, 0).numpy()
    assert np.array_equal(image, _expected_centre(photo)[:, :, ::-1])


def test_other_image_format_is_an_error():
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT: expected RGB or BGR, got 'L'"):
        WSOLDatasetMapper(False, image_format="L")


@pytest.mark.parametrize("is_train", [True, False])
def test_height_and_width_are_the_images_own_as_of_any_mapper(photo, is_train):
    mapped = WSOLDatasetMapper(is_train, resize=64, crop=56)(_dict(photo, (10, 10, 40, 30)))
    assert (mapped["height"], mapped["width"]) == (40, 60)
    assert mapped["image"].shape == (3, 56, 56)
    assert mapped["image_id"] == 7


def test_only_training_has_instances(photo):
    mapped = WSOLDatasetMapper(False, resize=64, crop=56)(_dict(photo, (10, 10, 40, 30)))
    assert "instances" not in mapped
    assert "annotations" not in mapped


def test_instances_are_the_crop_mappers_for_the_same_draw(photo):
    boxes = [(10, 10, 40, 30), (0, 0, 60, 40), (0, 0, 15, 20)]
    lost = set()
    for seed in range(8):
        torch.manual_seed(seed)
        mapped = WSOLDatasetMapper(True, resize=64, crop=40)(_dict(photo, *boxes))
        torch.manual_seed(seed)
        sample = CropMapper(64, 40, train=True)(str(photo), 60, 40, np.array(boxes, float))
        instances = mapped["instances"]
        assert isinstance(instances, Instances)
        assert instances.image_size == (40, 40)
        assert np.array_equal(instances.gt_boxes.tensor.numpy(), sample.boxes)
        assert np.array_equal(mapped["image"].permute(1, 2, 0).numpy(), sample.image)
        assert mapped["frame"] == sample.frame
        assert mapped["box_counts"] == sample.counts
        assert instances.gt_classes.tolist() == [0] * len(sample.boxes)
        assert instances.gt_classes.dtype == torch.int64
        lost.add(sample.counts.lost)
    assert lost == {0, 1}  # the box on the left


def test_other_box_modes_are_converted(photo):
    corners = WSOLDatasetMapper(True, resize=64, crop=64)
    torch.manual_seed(1)
    expected = corners(_dict(photo, (10, 10, 40, 30)))["instances"].gt_boxes.tensor
    torch.manual_seed(1)
    mapped = corners(_dict(photo, (10, 10, 30, 20), mode=BoxMode.XYWH_ABS))
    assert torch.equal(mapped["instances"].gt_boxes.tensor, expected)


def test_image_without_annotations_has_no_instance(photo):
    mapped = WSOLDatasetMapper(True, resize=64, crop=56)(_dict(photo))
    assert len(mapped["instances"]) == 0
    assert mapped["instances"].gt_boxes.tensor.shape == (0, 4)
    assert mapped["box_counts"] == BoxCounts(images=1, without_box=1)


def test_the_dict_of_the_data_set_is_unchanged(photo):
    record = _dict(photo, (10, 10, 40, 30))
    before = copy.deepcopy(record)
    WSOLDatasetMapper(True, resize=64, crop=56)(record)
    assert record == before


def test_classes_are_the_images_where_the_detector_has_several(photo):
    changes = {"WEND.FCOS.NUM_CLASSES": "200", "WEND.LOSS": "none"}
    mapper = WSOLDatasetMapper(d2_config("fcos", changes), is_train=True)
    assert mapper(_dict(photo, (10, 10, 40, 30)))["instances"].gt_classes.tolist() == [3]


def test_config_gives_sides_and_format(photo):
    mapper = WSOLDatasetMapper(d2_config("fcos", {"INPUT.FORMAT": "BGR"}), is_train=False)
    image = mapper(_dict(photo))["image"].permute(1, 2, 0).numpy()
    assert np.array_equal(image, _expected_centre(photo)[:, :, ::-1])
