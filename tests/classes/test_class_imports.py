"""wend.classes.imports: other programs' files become class predictions of the right images."""

import json

import pytest

from wend.classes.imports import import_class_predictions
from wend.errors import InputError, MissingFileError
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

RECORDS = [
    ImageRecord(1, "/r/n01/n01_1.JPEG", 9, 9, class_id=0),
    ImageRecord(2, "/r/n02/n02_7.JPEG", 9, 9, class_id=1),
]
KEYS = ["n01/n01_1.JPEG", "n02/n02_7.JPEG"]
SCORES = [[0.1, 0.5, 0.05, 0.2, 0.1, 0.05], [0.0, 0.1, 0.2, 0.3, 0.4, 0.0]]
BEST = [[1, 3, 0, 4, 2], [4, 3, 2, 1, 0]]  # of equal scores the lower class first


def load(tmp_path, content, name="scores.json", top_k=5):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return import_class_predictions(file, DataSet.from_records(RECORDS), top_k)


@pytest.mark.parametrize(
    "names",
    [
        ["n01/n01_1", "n02/n02_7"],  # GenPromp, ImageNet
        KEYS,  # GenPromp, CUB
        ["/data/val/n01/n01_1.JPEG", "C:\\val\\n02\\n02_7.JPEG"],
        ["n01_1.JPEG", "n02_7"],
    ],
    ids=["without ending", "with ending", "whole path", "file alone"],
)
def test_genpromps_object_of_scores(tmp_path, names):
    imported = load(tmp_path, {n: {"pred_scores": s} for n, s in zip(names, SCORES, strict=True)})
    assert imported.predictions == dict(zip(KEYS, BEST, strict=True))
    assert imported.scores[KEYS[0]] == [0.5, 0.2, 0.1, 0.1, 0.05]
    assert imported.num_classes == 6


@pytest.mark.parametrize("field", ["img_path", "filename", "file"])
def test_lists_of_results_with_file_names(tmp_path, field):
    content = [
        {field: f"data/{k}", "pred_label": 1, "pred_scores": s}
        for k, s in zip(KEYS, SCORES, strict=True)
    ]
    assert load(tmp_path, content).predictions == dict(zip(KEYS, BEST, strict=True))


def test_top_k_keeps_more_classes(tmp_path):
    content = {KEYS[0]: {"pred_scores": SCORES[0]}}
    assert load(tmp_path, content, top_k=6).predictions[KEYS[0]] == [1, 3, 0, 4, 2, 5]


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("n01/n01_1.JPEG,3,1,0,2,4\nn02/n02_7.JPEG,0,1,2,3,4\n", None),
        (
            "file,class1,class2,class3,class4,class5\nn01/n01_1,3,1,0,2,4\nn02/n02_7,0,1,2,3,4\n",
            None,
        ),
        (
            "file,class,score\n"
            + "".join(
                f"n01_1,{c},{s}\n" for c, s in [(1, 0.3), (3, 0.4), (0, 0.2), (2, 0.1), (4, 0)]
            )
            + "".join(f"n02_7,{c},{0.4 - c / 10}\n" for c in range(5)),
            [0.4, 0.3, 0.2, 0.1, 0.0],
        ),
        (
            "file,class1,class2,class3,class4,class5,score1,score2,score3,score4,score5\n"
            "n01_1,1,3,0,2,4,.3,.4,.2,.1,0\nn02_7,0,1,2,3,4,.4,.3,.2,.1,0\n",
            [0.4, 0.3, 0.2, 0.1, 0.0],
        ),
        (
            "\ufefffile,score_0,score_1,score_2,score_3,score_4\n"
            "n01_1,.2,.3,.1,.4,0\n\nn02_7,.4,.3,.2,.1,0\n",
            [0.4, 0.3, 0.2, 0.1, 0.0],
        ),
    ],
    ids=["plain", "header", "a line for each class", "classes and scores", "all scores"],
)
def test_csv(tmp_path, text, scores):
    imported = load(tmp_path, text, "classes.csv")
    assert imported.predictions == {KEYS[0]: [3, 1, 0, 2, 4], KEYS[1]: [0, 1, 2, 3, 4]}
    if scores:
        assert imported.scores[KEYS[0]] == pytest.approx(scores)
    else:
        assert imported.scores == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "got no entries"),
        ("3", "got no entries"),
        ("[", "not a whole JSON value"),
        ([{"pred_scores": [1.0]}], "no column names the images; expected one called"),
        ({"n01/n01_1": {"pred_score": 0.5}}, "no column has classes, or a score for each class"),
        (
            {"n01/n01_1": {"pred_scores": [1.0, None]}},
            "entry 'n01/n01_1': expected a finite score, got None",
        ),
        (
            {"n01/n01_1": {"pred_scores": [1, 2]}, "n02/n02_7": {"pred_scores": [1]}},
            r"images have \[1, 2\] scores",
        ),
        ({"x/y": {"pred_scores": [1.0, 2.0]}}, "none of its 1 images is in the data set"),
        (
            [
                {"file": "n01/n01_1.JPEG", "pred_scores": [1, 0]},
                {"file": "x/n01/n01_1.JPEG", "pred_scores": [1, 0]},
            ],
            "stands there twice",
        ),
    ],
    ids=str,
)
def test_bad_json_is_named(tmp_path, content, message):
    with pytest.raises(InputError, match=rf"scores\.json[:,] .*{message}"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no image in it"),
        ("file,class,class\n", "no image in it"),
        ("n01_1,1,x", "line 1: expected a class number from 0, got 'x'"),
        ("n01_1,1,-2", "line 1: expected a class number from 0, got '-2'"),
        ("n01_1,1,2.5", "line 1: expected a class number from 0, got '2.5'"),
        ("n01_1", "line 1: expected lines"),
        ("file,class,score\nn01_1,1,nan", "line 2: expected a finite score, got 'nan'"),
        ("file,class,score\nn01_1,1", "line 2: expected 3 cells"),
        ("file,class1,class2,score1\nn01_1,1,2,0.1", "2 class columns but 1 score columns"),
    ],
    ids=str,
)
def test_bad_csv_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=rf"c\.csv.*{message}"):
        load(tmp_path, text, "c.csv")


def test_other_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"p\.pkl: expected a \.json, \.csv or \.parquet file"):
        load(tmp_path, "", "p.pkl")
    with pytest.raises(MissingFileError):
        import_class_predictions(tmp_path / "no.csv", DataSet.from_records(RECORDS))


def test_a_file_name_in_two_folders_needs_its_folder(tmp_path):
    records = [ImageRecord(i, f"/r/{c}/a.png", 9, 9, class_id=i) for i, c in enumerate("xy")]
    file = tmp_path / "c.csv"
    file.write_text("a.png,0,1,2,3,4\n")
    with pytest.raises(InputError, match=r"c\.csv: 1 of its paths are .* several .*\(a\.png\)"):
        import_class_predictions(file, DataSet.from_records(records))
