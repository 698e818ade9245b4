from dataclasses import replace

import numpy as np

from wend.datasets.catalog import DataSets
from wend.loading.crop import CropMapper
from wend.loading.selection import Selection
from wend.structures.data_set import DataSet
from wend.tv.dataset import CroppedImages


def test_images_without_a_box_are_left_out_of_training_only():
    records = list(DataSets().get("toy_train_c2am"))
    records[3] = replace(records[3], pseudo_boxes=np.zeros((0, 4)))
    mapper = CropMapper(64, 56, train=True)
    boxless = DataSet.from_records(records)
    train = CroppedImages(Selection([boxless], with_boxes=True), mapper)
    assert len(train) == 23
    assert records[3].image_id not in {train[place].image_id for place in range(23)}
    assert len(Selection([boxless], with_boxes=False)) == 24
    toy_test = DataSets().get("toy_test")
    both = CroppedImages(Selection([boxless, toy_test], with_boxes=True), mapper)
    expected = [r.image_id for r in (*records[:3], *records[4:], *DataSets().get("toy_test"))]
    assert [both[place].image_id for place in range(35)] == expected
