"""A damaged store is named, never half-read; what is written is read again, whatever it is."""

import json

from damage import damaged_bytes, damaged_json
from data_sets import any_boxes, image_sets, plain_record, same_records
from hypothesis import strategies as st
from property_cases import answer, cases, scratch

from wend.datasets.store import find_store, open_store
from wend.datasets.store_writer import write_store
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

RECORDS = [
    ImageRecord(7, "/d/x/a b.jpg", 30, 40, class_id=3, gt_boxes=[[1, 2, 3, 4], [0.1, 0.2, 9, 8]]),
    ImageRecord(9, "/d/x/ü.jpg", 50, 60, pseudo_boxes=[[0, 0, 50, 60]]),
    ImageRecord(8, "/d/y/c.jpg", 70, 80, class_id=0),
]
WHOLE = [plain_record(record) for record in RECORDS]


def write_fixed(folder):
    """The same store each time: without time and random names, of which damage would depend."""
    write_store(folder / "s", DataSet.from_records(RECORDS), folder)
    (data,) = (folder / "s").glob("*.arrow")
    data.rename(folder / "s/records-0.arrow")
    info = json.loads((folder / "s/store.json").read_text())
    fixed = {**info, "made": "today", "data": "records-0.arrow"}
    (folder / "s/store.json").write_text(json.dumps(fixed, indent=1))


def check(folder, must_fail=False):
    """Opened and read whole, a store gives the records that were written, or is refused."""
    store = answer(lambda: open_store(folder / "s", folder), folder / "s")
    find_store("s", [], folder)  # says why and goes on without it
    if store is None:
        return
    assert not must_fail
    found = answer(lambda: [plain_record(record) for record in store], folder / "s")
    assert found is not None
    assert [record[1:] for record in found] == [record[1:] for record in WHOLE]


@cases(times=16, data=st.data())
def test_wrong_values_in_its_description(data):
    with scratch() as folder:
        write_fixed(folder)
        info = folder / "s/store.json"
        fields = ("data", "bytes", "columns", "format", "counts", "rules")
        value = json.loads(info.read_text())
        text, kind = data.draw(damaged_json(value, fields))
        info.write_text(text, encoding="utf-8", errors="surrogatepass")
        if not moved(value, text):
            check(folder, kind == "key twice")


def moved(value, text):
    """Whether a column starts elsewhere in the file, of which nothing tells that it is wrong."""
    try:
        columns = json.loads(text)["columns"].items()
        starts = {name: start for name, (_, start, _) in columns if type(start) in (int, bool)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False
    return any(start != value["columns"][name][1] for name, start in starts.items())


@cases(times=4, data=st.data())
def test_wrong_bytes_in_its_description(data):
    with scratch() as folder:
        write_fixed(folder)
        info = folder / "s/store.json"
        damaged, kind = data.draw(damaged_bytes(info.read_bytes()))
        cut = kind == "cut" and damaged.rstrip() != info.read_bytes().rstrip()
        info.write_bytes(damaged)
        if kind in ("cut", "empty", "binary", "no utf-8", "utf-16"):
            check(folder, cut or kind != "cut")
        else:
            answer(lambda: open_store(folder / "s", folder), folder / "s")


@cases(times=2, cut=st.integers(0, 10_000), more=st.binary(max_size=3))
def test_data_that_are_cut_or_longer(cut, more):
    with scratch() as folder:
        write_store(folder / "s", DataSet.from_records(RECORDS), folder)
        (file,) = (folder / "s").glob("*.arrow")
        data = file.read_bytes()
        damaged = data[: cut % len(data)] + more
        file.write_bytes(damaged)
        check(folder, len(damaged) != len(data))


@cases(
    times=2,
    images=image_sets(boxes=any_boxes),
    ids=st.permutations([0, -5, 2**63, -(2**64), 10**400]),
    strange=st.sampled_from([1, 2**31, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 10**400]),
    field=st.sampled_from(["width", "height", "class_id"]),
)
def test_huge_numbers_come_back_or_are_refused(images, ids, strange, field):
    with scratch() as folder:
        records = [
            ImageRecord(
                image_id,
                str(folder / image.path),
                strange if field == "width" else 5,
                strange if field == "height" else 5,
                class_id=strange if field == "class_id" else 0,
                gt_boxes=image.boxes,
            )
            for image_id, image in zip(ids, images, strict=False)
        ]
        write = lambda: write_store(folder / "s", DataSet.from_records(records, "s"), folder)  # noqa: E731
        if answer(write, "s"):
            same_records(open_store(folder / "s", folder), records)
        else:
            assert strange >= 2**63
