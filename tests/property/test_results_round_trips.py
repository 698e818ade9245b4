"""What WEND writes it reads: detections as JSON, CSV and Parquet, and class predictions."""

import json

import numpy as np
from data_sets import names
from hypothesis import strategies as st
from property_cases import cases, scratch

from wend.classes.predictions import read_predictions_file, write_class_predictions
from wend.evaluation.detections import load_detections, write_detections
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

number_ids = st.integers(0, 2**53)
SIDE = 400  # boxes between 260 and 400 pixels look like no other frame than the original
corner, side = (st.integers(*ends).map(lambda n: n / 4) for ends in ((1041, 1100), (1200, 1600)))
boxes = st.tuples(corner, corner, side, side)
scores = st.floats(-1e6, 1e6, allow_subnormal=False)


@st.composite
def detections(draw, ids):
    """A data set and its detections; some images have none, perhaps all."""
    image_ids = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    data_set = DataSet.from_records(
        ImageRecord(image_id, f"{number}.jpg", SIDE, SIDE)
        for number, image_id in enumerate(image_ids)
    )
    rows = [
        draw(st.lists(st.tuples(boxes, scores), max_size=3, unique_by=lambda row: row[1]))
        for _ in image_ids
    ]
    rows = [sorted(image, key=lambda row: -row[1]) for image in rows]
    offsets = np.cumsum([0, *map(len, rows)])
    every = [row for image in rows for row in image]
    return data_set, BoxTable(
        offsets,
        np.array([box for box, _ in every]).reshape(-1, 4),
        np.array([score for _, score in every]),
    )


@cases(
    times=3,
    of=detections(number_ids) | detections(names),
    ending=st.sampled_from([".json", ".csv", ".parquet"]),
)
def test_detections_keep_every_bit_whatever_the_ids(of, ending):
    data_set, table = of
    with scratch() as folder:
        write_detections(folder / f"d{ending}", data_set, table)
        again, counts = load_detections(folder / f"d{ending}", data_set)
        assert counts["rows"] == len(table.boxes)
        assert np.array_equal(again.offsets, table.offsets)
        assert np.array_equal(again.boxes, table.boxes)  # quarters of pixels, also as x, y, w, h
        assert np.array_equal(again.scores, table.scores)


@st.composite
def predictions(draw):
    classes = st.lists(st.integers(0, 30), min_size=5, max_size=8, unique=True)
    return draw(st.dictionaries(names, classes, max_size=5))


@cases(of=predictions(), with_scores=st.booleans(), class_names=st.lists(names, min_size=31))
def test_class_predictions_are_read_as_they_were_written(of, with_scores, class_names):
    scored = {key: sorted(np.linspace(0, 1, len(c)).tolist())[::-1] for key, c in of.items()}
    settings = {"model": "b7", "versions": {"wend": "0"}}
    with scratch() as folder:
        path = folder / "c.json"
        write_class_predictions(
            path, of, scored if with_scores else None, len(class_names), class_names, settings
        )
        again = read_predictions_file(path)
        assert again.predictions == of
        assert again.scores == (scored if with_scores and of else {})
        assert (again.num_classes, again.class_names) == (len(class_names), class_names)
        assert again.settings == json.loads(json.dumps(settings))
