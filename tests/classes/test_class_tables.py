"""Class predictions of other programs: columns by name, in whatever order; classes by name.

The forms are those of timm's ``inference.py`` (results as CSV, JSON of four orients, Parquet; lists
in cells as NumPy prints them, or a column each) and of pandas' ``to_csv``.
"""

import io
import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wend.classes.imports import import_class_predictions
from wend.classes.predictions import read_class_predictions, write_class_predictions
from wend.errors import InputError
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

FOLDERS = [
    "001.Black_footed_Albatross",
    "002.Laysan_Albatross",
    "003.Sooty_Albatross",
    "004.Groove_billed_Ani",
    "005.Crested_Auklet",
    "006.Least_Auklet",
]
FILES = [f"{folder}/bird_{i}.jpg" for i, folder in enumerate(FOLDERS)]
DATA_SET = DataSet.from_records(
    [ImageRecord(i, f"/r/{file}", 9, 9, class_id=i) for i, file in enumerate(FILES)]
)
BASE = [file.rpartition("/")[2] for file in FILES]
# probabilities (6 images, 6 classes), every class once the best; no two equal
PROBS = np.random.default_rng(0).permutation(36).reshape(6, 6) / 700 + 0.001 + 0.3 * np.eye(6)
TOP = np.argsort(-PROBS, axis=1)[:, :5]
TOP_PROBS = np.take_along_axis(PROBS, TOP, 1)
EXPECTED = {file: row.tolist() for file, row in zip(FILES, TOP, strict=True)}


def load(tmp_path, content, name="classes.csv", **options):
    path = tmp_path / name
    if isinstance(content, dict) and name.endswith(".parquet"):
        pq.write_table(pa.table(content), path)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return import_class_predictions(path, DATA_SET, **options)


def to_csv(columns, order=None):
    """A CSV of columns, as pandas writes cells: arrays as NumPy prints them."""
    file = io.StringIO()
    names = list(columns) if order is None else order
    file.write(",".join(names) + "\n")
    for row in range(len(BASE)):
        cells = [columns[name][row] for name in names]
        texts = [np.array_str(c) if isinstance(c, np.ndarray) else str(c) for c in cells]
        quoted = [
            '"' + t.replace('"', '""') + '"' if {",", '"', "\n"} & set(t) else t for t in texts
        ]
        file.write(",".join(quoted) + "\n")
    return file.getvalue()


def wide(names, values):
    return {name: values[:, i] for i, name in enumerate(names)}


LABELS = [[FOLDERS[c].split(".")[1] for c in row] for row in TOP]
FORMS = {
    "all scores": {"file": FILES, **wide([f"score_{i}" for i in range(6)], PROBS)},
    "logits": {"file": FILES, **wide([f"logit_{i}" for i in range(6)], np.log(PROBS))},
    "numbers alone": {"path": FILES, **wide([str(i) for i in range(6)], PROBS)},
    "folders": {"path": FILES, **wide(FOLDERS, PROBS)},
    "human names": {"image": FILES, **wide([f[4:].replace("_", " ") for f in FOLDERS], PROBS)},
    "classes": {"file": FILES, **wide([f"class{i}" for i in range(1, 6)], TOP)},
    "classes and scores": {
        "file": FILES,
        **wide([f"class{i}" for i in range(1, 6)], TOP),
        **wide([f"score{i}" for i in range(1, 6)], TOP_PROBS),
    },
    "timm, a column each": {
        "filename": BASE,
        **wide([f"index_{i}" for i in range(5)], TOP),
        **wide([f"prob_{i}" for i in range(5)], TOP_PROBS),
    },
    "timm, lists": {"filename": BASE, "index": list(TOP), "prob": list(TOP_PROBS)},
    "timm, all": {"filename": BASE, "prob": list(PROBS)},
    "timm, labels": {
        "filename": BASE,
        "label": [np.array(row, dtype=object) for row in LABELS],
        "prob": list(TOP_PROBS),
    },
    "timm, both": {
        "filename": BASE,
        "index": list(TOP),
        "label": [np.array(row, dtype=object) for row in LABELS],
        "prob": list(TOP_PROBS),
    },
    "lists of Python": {"filename": BASE, "classes": TOP.tolist(), "scores": TOP_PROBS.tolist()},
    "lists of NumPy's scalars": {
        "filename": BASE,
        "classes": [f"[{', '.join(f'np.int64({c})' for c in row)}]" for row in TOP],
    },
    "pandas' floats": {"file": FILES, **wide([f"top{i}" for i in range(1, 6)], TOP.astype(float))},
    "another column": {
        "file": FILES,
        "true_label": np.arange(6),
        **wide([f"pred_{i}" for i in range(1, 6)], TOP),
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", ["as written", "reversed", "shuffled"])
@pytest.mark.parametrize("index", [False, True])
def test_columns_are_known_by_their_names_in_any_order(tmp_path, form, order, index):
    columns = dict(FORMS[form])
    if index:
        columns = {"": np.arange(6), **columns} if order == "as written" else columns | {
            "Unnamed: 0": np.arange(6)
        }  # fmt: skip
    names = list(columns)
    if order == "reversed":
        names = names[::-1]
    elif order == "shuffled":
        names = [names[i] for i in np.random.default_rng(3).permutation(len(names))]
    assert load(tmp_path, to_csv(columns, names)).predictions == EXPECTED


def test_pandas_row_index_of_names_without_a_name_are_the_images(tmp_path):
    for names in (FOLDERS, list(map(str, range(6)))):
        columns = {"": FILES, **wide(names, PROBS)}
        assert load(tmp_path, to_csv(columns)).predictions == EXPECTED


def plain(cells):
    return [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orient", ["records", "lines", "split", "columns", "index", "parquet"])
def test_every_form_as_json_and_parquet(tmp_path, form, orient):
    columns = {name: np.asarray(cells).tolist() if isinstance(cells, np.ndarray) else plain(cells)
               for name, cells in FORMS[form].items()}  # fmt: skip
    first = next(iter(columns))
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    contents = {
        "records": rows,
        "lines": "\n".join(map(json.dumps, rows)),
        "split": {"columns": list(columns), "data": [list(row.values()) for row in rows]},
        "columns": {n: {str(i): c for i, c in enumerate(cells)} for n, cells in columns.items()},
        "index": {row.pop(first): row for row in map(dict, rows)},
        "parquet": columns,
    }
    name = "classes.parquet" if orient == "parquet" else "classes.json"
    assert load(tmp_path, contents[orient], name).predictions == EXPECTED


def test_rows_of_one_class_each_are_sorted_by_rank_or_score(tmp_path):
    order = np.random.default_rng(1).permutation(30)
    rows = [(BASE[i // 5], TOP[i // 5, i % 5], i % 5 + 1, TOP_PROBS[i // 5, i % 5]) for i in order]
    for names, pick in (
        ("image,rank,class", lambda r: f"{r[0]},{r[2]},{r[1]}"),
        ("prob,label,image", lambda r: f"{r[3]},{FOLDERS[r[1]]},{r[0]}"),
    ):
        text = "\n".join([names, *map(pick, rows)])
        assert load(tmp_path, text).predictions == EXPECTED


def test_equal_scores_give_the_lower_class_and_pandas_row_numbers_are_no_classes(tmp_path, caplog):
    caplog.set_level(logging.INFO, "wend")
    columns = {"index": np.arange(6), "file": FILES, "prob": [np.full(6, 0.1)] * 6}
    assert load(tmp_path, to_csv(columns)).predictions == {f: [0, 1, 2, 3, 4] for f in FILES}
    assert "columns that are not read: index" in caplog.text


def test_names_of_the_classifier_are_numbers_by_their_order(tmp_path):
    names = ["tench", "goldfish", "great white shark, man-eater", "hammerhead", "ray", "cock"]
    labels = [[names[c] for c in row] for row in TOP]
    columns = {"filename": BASE, "label": [np.array(row, dtype=object) for row in labels]}
    assert load(tmp_path, to_csv(columns), class_names=names).predictions == EXPECTED
    with pytest.raises(
        InputError, match=r"line 2: .* got '\w.*', which is no class of the data set"
    ):
        load(tmp_path, to_csv(columns))


def one_based(names):
    return {"file": FILES, **wide(names, TOP + 1)}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": FILES, **wide([f"score_{i}" for i in range(1, 7)], PROBS)}, "1-based?"),
        ({"file": FILES, **wide([str(i) for i in range(1, 7)], PROBS)}, "1-based?"),
        ({"file": FILES, **wide([f"score_{i}" for i in (0, 1, 2, 4, 5, 6)], PROBS)}, "a gap"),
        ({"file": FILES, **wide([f"class_{i}" for i in range(6)], PROBS)}, "columns score_0"),
        ({"file": FILES, "class1": TOP[:, 0], "score2": TOP_PROBS[:, 0]}, "0 or 1 without a gap"),
        (
            {"file": FILES, **wide(["class1", "class2"], TOP), "score1": TOP_PROBS[:, 0]},
            "2 class columns but 1 score",
        ),
        (
            {"file": FILES, "classes": list(TOP), "scores": [np.arange(1, 6)] * 6},
            "the scores of every image are its ranks",
        ),
        ({"file": FILES, "pred_scores": list(TOP)}, "whole numbers in every image, such as"),
        ({"file": FILES, **wide("01234", TOP)}, "call the columns class1, class2"),
        (
            {"file": FILES, "index": list(TOP + 1), "label": list(np.array(FOLDERS)[TOP])},
            "contradict each other: .* 1-based",
        ),
        ({"file": FILES, "class": list(TOP[:, [0, 1, 0]])}, "a class stands there twice"),
        ({"file": FILES, "class": ["Auklet"] * 6}, "got 'Auklet', which is no class"),
        ({"file": FILES, "class": [""] * 6}, "got '', which is no class"),
        ({"file": FILES, "prob": ["[0.1 0.2 ... 0.3]"] * 6}, "NumPy printed only some"),
        ({"file": FILES, "prob": ["[0.1 nan]"] * 6}, "expected a finite score, got 'nan'"),
        ({"file": FILES, "prob": ["[0.1 0.2]"] * 5 + ["[0.1]"]}, r"images have \[1, 2\] scores"),
        ({"file": FILES, "mood": TOP[:, 0]}, "no column has classes"),
        ({"left": FILES, "right": FILES, "class": TOP[:, 0]}, "no column names the images"),
        ({"file": [""] * 6, "class": TOP[:, 0]}, "expected an image's name in 'file', got ''"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=rf"classes\.csv.*{message}"):
        load(tmp_path, to_csv(columns))


def test_a_column_that_stands_twice_is_an_error(tmp_path):
    text = "file,class1,class1\na,1,2\n"
    with pytest.raises(InputError, match=r"columns that stand there twice: 'class1'"):
        load(tmp_path, text)
    array = pa.array(["a"])
    table = pa.Table.from_arrays([array, array, array], names=["file", "label", "label"])
    pq.write_table(table, tmp_path / "twice.parquet")
    with pytest.raises(
        InputError, match=r"twice\.parquet: columns that stand there twice: 'label'"
    ):
        import_class_predictions(tmp_path / "twice.parquet", DATA_SET)


@pytest.mark.parametrize("start", [0, 1])
def test_classes_from_1_that_leave_the_range_are_an_error(tmp_path, start):
    imported = load(tmp_path, to_csv({"file": FILES, "class": list(TOP + start)}))
    if start == 0:
        assert imported.for_data_set(DATA_SET).ranks(DATA_SET).tolist() == [0] * 6
    else:
        with pytest.raises(InputError, match=r"predicts class 6, but .* 0 to 5, .* 1-based\?"):
            imported.for_data_set(DATA_SET)


def test_classes_from_1_in_a_file_of_ones_own_are_an_error(tmp_path):
    path = tmp_path / "classes.json"
    write_class_predictions(path, {key: (TOP[i] + 1).tolist() for i, key in enumerate(FILES)})
    with pytest.raises(InputError, match=r"classes\.json: predicts class 6, .* 1-based?"):
        read_class_predictions(path, DATA_SET)


def test_pickles_are_not_read(tmp_path):
    for name in ("results.pkl", "results.pt", "results.pth"):
        (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
        with pytest.raises(InputError, match="a pickle may run any code"):
            import_class_predictions(tmp_path / name, DATA_SET)


def test_separators_of_other_countries(tmp_path):
    for separator in (";", "\t"):
        text = to_csv(FORMS["timm, a column each"]).replace(",", separator)
        assert load(tmp_path, text).predictions == EXPECTED
