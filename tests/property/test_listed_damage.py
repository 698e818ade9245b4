"""Damaged YOLO files, Open Images' and Kaggle's CSV: other boxes, or an error that names them."""

import numpy as np
from damage import HARMLESS
from hypothesis import strategies as st
from property_cases import answer, cases, scratch
from test_truth_damage import damage_file

from wend.formats.kaggle import read_kaggle
from wend.formats.openimages_csv import read_openimages
from wend.formats.yolo import read_yolo

FILES = {
    "a.txt": (
        "0 0.5 0.5 0.25 0.5\n2 0.25 0.25 0.5 0.5 0.75\n",
        lambda path: read_yolo(path.parent),
    ),
    "openimages.csv": (
        "ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf\n0a,/m/x,0.25,0.5,0.125,1,0\n"
        "0b,/m/y,0,1,0,1,0\n",
        read_openimages,
    ),
    "kaggle.csv": (
        "ImageId,PredictionString\na,n01440764 1 2 30 40 n01440764 5 5 6 6\nb,n02119789 0 0 9 9\n",
        read_kaggle,
    ),
}


def boxes_of(content):
    if isinstance(content, list):
        return np.concatenate([boxes for *_, boxes in content]).tolist()
    return content.boxes.tolist()


@cases(times=3, name=st.sampled_from(sorted(FILES)), data=st.data())
def test_a_damaged_file_is_read_or_named(name, data):
    text, read = FILES[name]
    with scratch() as folder:
        file = folder / name
        file.write_text(text, encoding="utf-8")
        whole = boxes_of(read(file))
        kind = damage_file(file, data.draw)
        content = answer(lambda: read(file), file, folder)
        if content is None:
            assert kind not in HARMLESS
        elif kind in HARMLESS:
            assert boxes_of(content) == whole
