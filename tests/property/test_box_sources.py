"""Box sources: boxes -> files -> reader -> records -> store; and damaged files of each source."""

import csv
import io
import unicodedata

import numpy as np
import pyarrow as pa
from damage import BROKEN_TEXT, HARMLESS, damaged_bytes, damaged_json
from data_sets import boxes_of, listed_names, names, same_records
from hypothesis import strategies as st
from property_cases import answer, cases, scratch
from pyarrow import parquet

from wend.datasets.store import open_store
from wend.datasets.store_writer import write_store
from wend.files import write_json
from wend.localize.boxes import FoundBox
from wend.localize.writers import write_boxes
from wend.pseudo_boxes import attach_pseudo_boxes, read_boxes
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

SOURCES = ("c2am", "psol", "coco", "results", "localization", "csv", "parquet")
FRACTIONS = ("c2am", "psol")
wide = st.tuples(st.integers(16, 9000), st.integers(16, 9000))  # boxes up to 1 could be fractions
eighths = st.integers(0, 8)
NULLS = ("null", "NA", "nan", "", "#", "N")  # what a CSV calls "no value"


def keyed(name):
    """Different keys ``<folder>/<name>`` in Unicode NFC, as sources compare them."""
    paths = st.tuples(name, name).map(lambda parts: unicodedata.normalize("NFC", "/".join(parts)))
    return st.lists(paths, min_size=1, max_size=5, unique=True)


@st.composite
def boxes_by_key(draw, name=names, most=1):
    """Key -> size and boxes in eighths of the image, so that fractions of it are exact."""
    found = {}
    for key in draw(keyed(name)):
        width, height = draw(wide)
        count = draw(st.integers(1, most))
        rows = []
        for _ in range(count):
            x0, x1 = sorted(draw(st.lists(eighths, min_size=2, max_size=2, unique=True)))
            y0, y1 = sorted(draw(st.lists(eighths, min_size=2, max_size=2, unique=True)))
            rows.append((x0 / 8, y0 / 8, x1 / 8, y1 / 8))
        found[f"{key}.jpg"] = ((width, height), list(dict.fromkeys(rows)))
    return found


def in_pixels(size, box):
    return [side * fraction for side, fraction in zip((*size, *size), box, strict=True)]


def write_source(folder, kind, found):
    """The boxes as files of a source; returns what ``read_boxes`` is asked for."""
    xywh = {
        key: [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes]
        for key, (_, boxes) in found.items()
    }
    rows = [(key, *in_pixels(size, box)) for key, (size, boxes) in found.items() for box in boxes]
    if kind in FRACTIONS:
        for number, (key, boxes) in enumerate(xywh.items()):
            write_json(folder / f"{number}_bbox.json", {f"some/root/{key}": boxes[0]})
        write_json(folder / "0_trans.json", {"no": "boxes"}) if kind == "psol" else None
        return {"source": kind, "path": str(folder)}
    if kind in ("coco", "results"):
        file = folder / "boxes.json"
        write_json(file, as_coco(found) if kind == "coco" else as_coco_results(rows))
        return {"source": "coco", "path": str(file)}
    file = folder / f"boxes.{kind}"
    names = ("image", "x0", "y0", "x1", "y1")
    if kind == "localization":
        file.write_text("".join(f"{','.join(map(str, row))}\n" for row in rows), encoding="utf-8")
    elif kind == "csv":
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(
            [names, *rows]
        )
        file.write_text(text.getvalue(), encoding="utf-8")
    else:
        columns = [list(column) for column in zip(*rows, strict=True)]
        parquet.write_table(pa.table(dict(zip(names, columns, strict=True))), file)
    return {"source": kind, "path": str(file)}


def as_coco(found):
    images = [
        {"id": i, "file_name": key, "width": size[0], "height": size[1]}
        for i, (key, (size, _)) in enumerate(found.items())
    ]
    annotations = [
        {"id": 1, "image_id": i, "category_id": 1, "bbox": xywh_of(in_pixels(size, box))}
        for i, (size, boxes) in enumerate(found.values())
        for box in boxes
    ]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}


def as_coco_results(rows):
    return [
        {"image_id": key, "category_id": 1, "bbox": xywh_of(box), "score": 0.5}
        for key, *box in rows
    ]


def xywh_of(box):
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def bare_records(found):
    return DataSet.from_records(
        ImageRecord(i, f"/data/{key}", *size, key=key, class_id=0)
        for i, (key, (size, _)) in enumerate(found.items())
    )


def check_all_came(spec, found, folder):
    """Every image has its boxes, to rounding, with the reader, the join and the store."""
    records, report = attach_pseudo_boxes(bare_records(found), read_boxes(spec))
    assert (
        report.number("surplus")
        == report.number("missing")
        == report.number("zero_area")
        == report.number("outside")
        == 0
    )
    for record, (size, boxes) in zip(records, found.values(), strict=True):
        wanted = np.array([in_pixels(size, box) for box in boxes])
        np.testing.assert_allclose(record.pseudo_boxes, wanted, rtol=1e-14, atol=1e-10)
    write_store(folder / "store", DataSet.from_records(records), folder)
    same_records(open_store(folder / "store", folder), records)


@cases(
    times=0.5,
    kind=st.sampled_from(["coco", "results", "csv", "parquet"]),
    found=boxes_by_key(name=names.filter(lambda name: name not in NULLS), most=3),
)
def test_sources_of_several_boxes(kind, found):
    with scratch() as folder:
        check_all_came(write_source(folder, kind, found), found, folder)


@cases(found=boxes_by_key(name=listed_names, most=3))
def test_lists_of_boxes(found):
    with scratch() as folder:
        check_all_came(write_source(folder, "localization", found), found, folder)


@cases(kind=st.sampled_from(FRACTIONS), found=boxes_by_key())
def test_sources_of_fractions(kind, found):
    with scratch() as folder:
        check_all_came(write_source(folder, kind, found), found, folder)


@cases(found=boxes_by_key())
def test_boxes_that_wend_made_are_read_again(found):
    with scratch() as folder:
        made = {key: [FoundBox(boxes[0], 0.5)] for key, (_, boxes) in found.items()}
        for path in write_boxes(folder, "train", bare_records(found), made, {}):
            kind = "c2am" if path.is_dir() else "coco"
            check_all_came({"source": kind, "path": str(path)}, found, folder)


GOOD = {
    "n01440764/a b.jpg": ((500, 375), [(0.125, 0.25, 0.5, 0.75)]),
    "n01440764/ü.jpg": ((40, 80), [(0.25, 0.125, 0.75, 0.875)]),
    "n02119789/c.jpg": ((640, 480), [(0.5, 0.5, 1.0, 1.0)]),
}


def check_boxes(pseudo):
    """What must hold of any boxes that a reader lets through; and the join takes them."""
    assert len(set(pseudo.keys)) == len(pseudo.keys) == len(pseudo)
    boxes = pseudo.table.boxes
    assert np.isfinite(boxes).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (pseudo.table.counts > 0).all()
    for key in pseudo.keys:
        assert not key.startswith("/")
        assert ".." not in key.split("/")
        assert "\0" not in key
    answer(lambda: attach_pseudo_boxes(bare_records(GOOD), pseudo), pseudo.source)


def check_damaged(spec, folder, kind, whole, refused=()):
    """Read a damaged source; whole: the boxes of the undamaged one."""
    found = answer(lambda: read_boxes(spec), folder)
    if found is None:
        assert kind not in HARMLESS
        return
    assert kind not in refused, kind
    check_boxes(found)
    if kind in (*HARMLESS, "same key twice"):
        assert boxes_of(found) == whole


def source_file(spec, folder):
    path = folder / "1_bbox.json" if spec["source"] in FRACTIONS else spec["path"]
    return folder / path


@cases(times=16, kind=st.sampled_from(SOURCES), data=st.data())
def test_wrong_bytes(kind, data):
    with scratch() as folder:
        spec = write_source(folder, kind, GOOD)
        whole, file = boxes_of(read_boxes(spec)), source_file(spec, folder)
        if kind == "parquet":  # bytes, not text
            place = data.draw(st.integers(0, len(file.read_bytes()) - 1))
            what = data.draw(st.sampled_from(["cut", "byte", "binary", "empty"]))
            damaged = bytearray(file.read_bytes())
            damaged[place] ^= data.draw(st.integers(1, 255))
            some = {"cut": damaged[:place], "byte": damaged, "empty": b""}
            some["binary"] = data.draw(st.binary(max_size=200))
            file.write_bytes(bytes(some[what]))
            refused = ("cut", "empty", "binary")
        else:
            damaged, what = data.draw(damaged_bytes(file.read_bytes()))
            file.write_bytes(damaged)
            refused = (*BROKEN_TEXT, *(["cut"] if "json" in file.name else []))
        if kind == "csv" and what == "utf-16":
            refused = ()  # pyarrow may take it for one odd column, which is refused, too
        check_damaged(spec, folder, what, whole, refused)


UNREAD = (("annotations", "id"), ("categories",))  # of COCO's JSON


@cases(times=16, kind=st.sampled_from(["c2am", "psol", "coco", "results"]), data=st.data())
def test_wrong_values(kind, data):
    with scratch() as folder:
        spec = write_source(folder, kind, GOOD)
        whole, file = boxes_of(read_boxes(spec)), source_file(spec, folder)
        if kind in FRACTIONS:
            value = {f"root/{key}": xywh_of(boxes[0]) for key, (_, boxes) in GOOD.items()}
            value = {key: box for key, box in value.items() if "ü" in key}
        elif kind == "coco":
            value = as_coco(GOOD)
        else:
            rows = [(key, *in_pixels(size, box[0])) for key, (size, box) in GOOD.items()]
            value = as_coco_results(rows)
        text, what = data.draw(damaged_json(value, unread=UNREAD if kind == "coco" else ()))
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        # of C2AM's keys one that stands twice is counted and said; the last one counts
        refused = () if kind in FRACTIONS else ("key twice",)
        check_damaged(spec, folder, what, whole, refused)


COLUMNS = ("image", "x0", "y0", "x1", "y1", "score")
cells = st.one_of(
    st.sampled_from(["a/b.jpg", "", "NaN", "inf", "1e308", "1" * 400, "-1", "1.5", "x", "true"]),
    st.integers(-5, 900).map(str),
    names,
)


@cases(
    times=3,
    header=st.lists(st.sampled_from([*COLUMNS, "x", "y", "w", "h", ""]), max_size=8),
    rows=st.lists(st.lists(cells, max_size=8), max_size=4),
    own=st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from([*COLUMNS, 1, None, ["x0"]])),
    quoted=st.booleans(),
)
def test_any_csv(header, rows, own, quoted):
    with scratch() as folder:
        file, text = folder / "a.csv", io.StringIO()
        quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
        csv.writer(text, quoting=quoting).writerows([header, *rows])
        file.write_text(text.getvalue(), encoding="utf-8")
        spec = {"source": "csv", "path": str(file)} | ({"columns": own} if own else {})
        check_damaged(spec, folder, "any", None)


COLUMN_VALUES = (
    *(["a/b.jpg", "c/d.jpg"], [b"a/\xff", b"b"], [1, 2], [1.5, 300.0], [True, False], [None, 3]),
    *([float("nan"), 1.0], [float("inf"), 2.0], [1e308, 2e300], [2**60 + 1, 5], ["1", "x"]),
    *([[1.0], [2.0]], [{"a": 1}, {"a": 2}], ["5", "6"], [-(2**63), 2**63 - 1]),
)


@cases(times=3, columns=st.dictionaries(st.sampled_from(COLUMNS), st.sampled_from(COLUMN_VALUES)))
def test_any_parquet(columns):
    with scratch() as folder:
        good = {"image": ["a/b.jpg", "c/d.jpg"], "x0": [1, 2], "y0": [1, 2]}
        good |= {"x1": [30, 40], "y1": [30, 40]}
        parquet.write_table(pa.table({**good, **columns}), folder / "a.parquet")
        spec = {"source": "parquet", "path": str(folder / "a.parquet")}
        check_damaged(spec, folder, "any", None)
        if any(values == [True, False] for key, values in columns.items()):
            assert answer(lambda: read_boxes(spec), folder) is None  # no numbers
