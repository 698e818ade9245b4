"""wend.inference.both_ways: boxes of mirrored images come back; interrupted runs go on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from wend.errors import BadImageError
from wend.inference.both_ways import predict_both_ways, trained_on
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

PAINTED = [(10, 20, 40, 50), (0, 0, 7, 9), (61, 5, 70, 44)]
SIZE = (71, 53)


class Painted:
    """A detector that boxes what is white, and whatever is left of the middle too."""

    exif, file, cfg = "ignore", None, SimpleNamespace(dump=lambda: "", DATASETS=None)

    def __init__(self):
        self.seen = 0

    def __call__(self, images, max_boxes, **more):
        for index, image in enumerate(images):
            self.seen += 1
            rows, columns = np.nonzero(np.asarray(image)[..., 0] > 128)
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            left = [0, 0, 9, 9]
            yield SimpleNamespace(
                xyxy=np.array([box, left], dtype=float),
                scores=np.array([0.9, 0.1]),
                index=index,
                size=image.size,
            )


@pytest.fixture
def images(tmp_path):
    records = []
    for number, (x0, y0, x1, y1) in enumerate(PAINTED):
        pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        pixels[y0:y1, x0:x1] = 255
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        records.append(ImageRecord(number, str(path), *SIZE))
    return DataSet.from_records(records, "painted")


def test_both_ways_agree_where_the_detector_looks_at_the_image(images, tmp_path):
    both = predict_both_ways(Painted(), images, np.array([0, 2]), tmp_path / "p.jsonl")
    assert both.boxes.counts.tolist() == [2, 0, 2]
    for index in (0, 2):
        assert both.boxes[index][0].tolist() == list(PAINTED[index])
        assert both.mirrored[index][0].tolist() == list(PAINTED[index])
        assert both.boxes[index][1].tolist() == [0, 0, 9, 9]
        assert both.mirrored[index][1].tolist() == [62, 0, 71, 9]
    assert not both.unreadable


def test_an_interrupted_run_goes_on(images, tmp_path):
    record, every = tmp_path / "p.jsonl", np.arange(3)
    first = predict_both_ways(Painted(), images, every, record)
    whole = record.read_text()
    record.write_text("".join(whole.splitlines(keepends=True)[:2]))
    again = Painted()
    second = predict_both_ways(again, images, every, record)
    assert again.seen == 4  # two images, both ways
    np.testing.assert_array_equal(first.mirrored.boxes, second.mirrored.boxes)
    assert record.read_text() == whole
    Image.new("RGB", SIZE, "white").save(images.file_names[0])  # another image: all anew
    assert predict_both_ways(again, images, every, record).boxes[0][0].tolist() == [0, 0, *SIZE]
    assert again.seen == 4 + 6


def test_images_that_cannot_be_read_have_no_boxes(images, tmp_path, caplog):
    with open(images.file_names[1], "wb") as file:
        file.write(b"no image")
    both = predict_both_ways(Painted(), images, np.arange(3), tmp_path / "p.jsonl")
    assert both.boxes.counts.tolist() == [2, 0, 2]
    assert both.mirrored[2][0].tolist() == list(PAINTED[2])
    assert len(both.unreadable) == 1
    assert "1 images could not be read" in caplog.text
    with pytest.raises(BadImageError, match="none of 1 images of painted can be read"):
        predict_both_ways(Painted(), images, np.array([1]), tmp_path / "q.jsonl")
    assert len(json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])) == 2


def test_what_a_detector_was_trained_on_is_known():
    detector = SimpleNamespace(cfg=SimpleNamespace(DATASETS=SimpleNamespace(TRAIN=("a", "b"))))
    assert trained_on(detector, ["b", "c"]) == ["b"]
