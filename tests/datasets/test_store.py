"""wend.datasets.store and store_writer: nothing is lost, nothing is copied, damage is named."""

import fcntl
import json
import pickle
import resource
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wend.datasets import store_writer
from wend.datasets.store import open_store, read_info
from wend.datasets.store_writer import write_store
from wend.errors import InputError, MissingFileError
from wend.evaluation.score_files import truth_sha256
from wend.structures.data_set import DataSet
from wend.structures.masks import MaskFiles
from wend.structures.records import ImageRecord

ROOT = "/data"
RECORDS = [
    ImageRecord(
        *("a b/ü 'x'.JPEG", f"{ROOT}/set/a b/ü 'x'.JPEG", 500, 375),
        class_id=0,
        gt_boxes=[[0.1, 0.2, 10.3, 20.7], [1, 2, 3, 4]],
        pseudo_boxes=[[1 / 3, 0, 2**0.5, 1e-17]],
    ),
    ImageRecord("a b/2.png", f"{ROOT}/set/a b/2.png", 1, 2**20, class_id=999),
    ImageRecord(
        *("c/3.png", f"{ROOT}/set/c/3.png", 7, 8), pseudo_boxes=[[0, 0, 7, 8], [1, 1, 1, 1]]
    ),
]


def write(folder, records=RECORDS, **more):
    data_set = DataSet.from_records(records, more.get("name", ""))
    write_store(folder, data_set, ROOT, **more)
    return open_store(folder, ROOT)


def info_of(tmp_path):
    return read_info(tmp_path / "s")


def assert_same(store, records):
    """Every field of every record, to the last bit, and of Python's own types."""
    assert len(store) == len(records)
    for one, record in zip(store, records, strict=True):
        assert isinstance(one, ImageRecord)
        assert vars(one).keys() == {f.name for f in fields(ImageRecord)}
        for name in ("image_id", "file_name", "width", "height", "key", "class_id"):
            found, expected = getattr(one, name), getattr(record, name)
            assert found == expected
            assert type(found) is (int if isinstance(expected, np.integer) else type(expected))
        for name in ("gt_boxes", "pseudo_boxes"):
            found, expected = getattr(one, name), getattr(record, name)
            assert found.shape == expected.shape
            assert found.dtype == np.float64
            assert found.tobytes() == expected.tobytes()
            assert not found.flags.writeable


def test_records_come_back_as_they_were(tmp_path):
    store = write(tmp_path / "s")
    assert_same(store, RECORDS)
    assert info_of(tmp_path)["rules"] == {
        "key": "tail",
        "image_id": "key",
    }  # neither is a column
    assert truth_sha256(store) == truth_sha256(DataSet.from_records(RECORDS))


numbers = st.floats(-1e6, 1e6, width=64)
boxes = st.lists(st.tuples(numbers, numbers, st.floats(0, 1e6), st.floats(0, 1e6)), max_size=3)
text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
paths = st.lists(text, min_size=1, max_size=4).map("/".join)


@st.composite
def data_sets(draw):
    """Records with any names, ids and boxes; ids and keys unique."""
    names = draw(st.lists(paths, min_size=1, max_size=6))
    prefix = draw(st.sampled_from(["", "/", f"{ROOT}/", f"{ROOT}/x/y/", "../", "/da", "C:\\d\\"]))
    kind = draw(st.sampled_from(["key", "name", "int", "str", "mixed"]))
    own_keys = draw(st.booleans())
    records = {}
    for number, name in enumerate(names):
        record = ImageRecord(
            image_id=0,
            file_name=prefix + name,
            width=draw(st.integers(1, 2**40)),
            height=draw(st.integers(1, 2**20)),
            key=f"{number}/{name}" if own_keys else "",
            class_id=draw(st.none() | st.integers(0, 2**33)),
            gt_boxes=[[x, y, x + w, y + h] for x, y, w, h in draw(boxes)],
            pseudo_boxes=[[x, y, x + w, y + h] for x, y, w, h in draw(boxes)],
        )
        ids = {"key": record.key, "name": name, "int": np.int64(number - 2), "str": f"'{number}'"}
        ids["mixed"] = number if number % 2 else f"{number}"
        record = replace(record, image_id=ids[kind])
        if record.image_id not in [other.image_id for other in records.values()]:
            records[record.key] = record
    return list(records.values())


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records=data_sets())
def test_any_records_come_back_as_they_were(tmp_path_factory, records):
    assert_same(write(tmp_path_factory.mktemp("any") / "s", records), records)


def test_the_file_is_plain_arrow_for_other_programs(tmp_path):
    write(tmp_path / "s")
    table = pa.ipc.open_file(tmp_path / "s" / info_of(tmp_path)["data"]).read_all().to_pydict()
    assert info_of(tmp_path)["root"] == {"below_datasets_root": True, "path": "set/"}
    assert table["file_name"] == ["a b/ü 'x'.JPEG", "a b/2.png", "c/3.png"]
    assert table["width"] == [500, 1, 7]
    assert table["height"] == [375, 2**20, 8]
    assert table["class_id"] == [0, 999, -1]
    assert table["gt_boxes"] == [[[0.1, 0.2, 10.3, 20.7], [1.0, 2.0, 3.0, 4.0]], [], []]
    assert table["pseudo_boxes"][2] == [[0.0, 0.0, 7.0, 8.0], [1.0, 1.0, 1.0, 1.0]]
    assert info_of(tmp_path)["counts"] == {
        **{"images": 3, "gt_boxes": 2, "images_with_gt_boxes": 1},
        **{"pseudo_boxes": 3, "images_with_pseudo_boxes": 2},
    }


def test_questions_are_answered_by_arrays_as_by_the_records(tmp_path):
    store = write(tmp_path / "s")
    assert store.truth.with_boxes.tolist() == [0]
    assert store.pseudo_boxes.with_boxes.tolist() == [0, 2]
    assert store.sizes.tolist() == [[500, 375], [1, 2**20], [7, 8]]
    assert store.class_ids.tolist() == [0, 999, -1]
    assert store.pseudo_boxes.offsets.tolist() == [0, 1, 1, 3]
    assert store.pseudo_boxes.boxes[1].tolist() == [0, 0, 7, 8]
    assert store.index_of_key == {"a b/ü 'x'.JPEG": 0, "a b/2.png": 1, "c/3.png": 2}


def test_it_is_a_sequence(tmp_path):
    store = write(tmp_path / "s")
    assert [one.width for one in store] == [500, 1, 7]
    assert store[-1].key == store[np.int64(2)].key == "c/3.png"
    assert [one.width for one in store[::-2]] == [7, 500]
    for place in (3, -4):
        with pytest.raises(IndexError, match=rf"image {place} of 3"):
            store[place]
    with pytest.raises(TypeError):
        store["c/3.png"]


SHOW_KEYS_AND_MAPPING = """
import json, pickle, sys
store = pickle.loads(sys.stdin.buffer.read())
keys = [record.key for record in store]
text = open("/proc/self/smaps").read()
lines = text[text.index(".arrow") :].splitlines()[1:24]
mapping = {line.split(":")[0]: line.split()[1] for line in lines}
heavy = [name for name in ("torch", "pyarrow", "PIL") if name in sys.modules]
print(json.dumps([keys, mapping, heavy]))
"""


def test_another_process_maps_the_same_file_and_imports_little(tmp_path):
    store = write(tmp_path / "s")
    sent = pickle.dumps(store)
    assert len(sent) < 300
    code = [sys.executable, "-c", SHOW_KEYS_AND_MAPPING]
    done = subprocess.run(code, input=sent, capture_output=True, check=True)
    keys, mapping, heavy = json.loads(done.stdout)
    assert keys == [record.key for record in RECORDS]
    assert int(mapping["Rss"]) > 0
    assert mapping["Private_Dirty"] == "0"
    assert heavy == []


def test_a_store_that_was_written_anew_is_not_mixed_up_with_the_one_in_use(tmp_path):
    store = write(tmp_path / "s")
    sent = pickle.dumps(store)
    assert_same(write(tmp_path / "s", RECORDS[:2]), RECORDS[:2])
    assert_same(store, RECORDS)  # who has the old one open keeps it
    with pytest.raises(InputError, match=r"/s: was imported again while it was in use"):
        pickle.loads(sent)  # noqa: S301
    assert len(list((tmp_path / "s").glob("*.arrow"))) == 1


def test_images_below_the_data_sets_folder_are_found_where_it_moves(tmp_path):
    write(tmp_path / "s")
    moved = open_store(tmp_path / "s", "/elsewhere/")
    assert moved[2].file_name == "/elsewhere/set/c/3.png"
    assert moved[2].key == "c/3.png"
    outside = [replace(record, file_name=f"/other{record.file_name}") for record in RECORDS]
    write(tmp_path / "o", outside)
    assert open_store(tmp_path / "o", "/elsewhere")[2].file_name == "/other/data/set/c/3.png"


def test_files_of_masks_come_back_and_are_found_where_the_folder_moves(tmp_path):
    masks = [MaskFiles((f"{ROOT}/m/1.png", f"{ROOT}/m/ä.png"), f"{ROOT}/m/i.png"), MaskFiles(())]
    masks += [MaskFiles((f"{ROOT}/m/2.png",))] * (len(RECORDS) - 2)
    data_set = replace(DataSet.from_records(RECORDS), masks=masks)
    write_store(tmp_path / "s", data_set, ROOT)
    assert list(open_store(tmp_path / "s", ROOT).masks) == masks
    moved = open_store(tmp_path / "s", "/elsewhere").masks
    assert moved[0].objects[1] == "/elsewhere/m/ä.png"
    assert moved[0].ignored == "/elsewhere/m/i.png"
    write_store(tmp_path / "s", replace(data_set, masks=[MaskFiles(())] * len(RECORDS)), ROOT)
    assert list(open_store(tmp_path / "s", ROOT).masks) == [MaskFiles(())] * len(RECORDS)
    write_store(tmp_path / "s", DataSet.from_records(RECORDS), ROOT)
    assert open_store(tmp_path / "s", ROOT).masks is None


def test_a_doubled_slash_below_the_data_sets_folder_is_kept(tmp_path):
    records = [replace(RECORDS[2], file_name=f"{ROOT}//c/3.png")]
    assert_same(write(tmp_path / "s", records), records)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "c/3.png", "image_id": 1}, r"1 images share their key with another \(c/3\.png\)"),
        ({"image_id": "c/3.png"}, r"1 images share their image id with another \(c/3\.png\)"),
        ({"image_id": (1, 2)}, r"image id \(1, 2\): expected a whole number or a text"),
        ({"image_id": True}, r"image id True: expected a whole number or a text"),
        ({"class_id": -1}, r"class_id: expected whole numbers from 0 .*, got -1"),
        ({"width": 2.5}, r"width: expected whole numbers from 0 .*, got 2\.5"),
        ({"file_name": "/data/\udcff.png"}, r"is not Unicode; rename the file"),
    ],
)
def test_what_cannot_be_kept_is_an_error_and_the_old_store_stays(tmp_path, change, message):
    write(tmp_path / "s")
    with pytest.raises(InputError, match=rf"birds: .*{message}"):
        write(tmp_path / "s", [replace(RECORDS[1], **change), RECORDS[2]], name="birds")
    assert_same(open_store(tmp_path / "s", ROOT), RECORDS)


def test_no_records_are_an_error(tmp_path):
    with pytest.raises(InputError, match=r"^s: has no image; there is nothing to import"):
        write(tmp_path / "s", [])
    assert not (tmp_path / "s").exists()


def test_a_write_that_the_system_cuts_off_leaves_the_old_store_and_nothing_else(tmp_path):
    write(tmp_path / "s")
    before = sorted((tmp_path / "s").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # a disk with 500 bytes left
    try:
        with pytest.raises(OSError, match="File too large"):
            write(tmp_path / "s", RECORDS[:2])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted((tmp_path / "s").iterdir()) == before
    assert_same(open_store(tmp_path / "s", ROOT), RECORDS)


def test_an_interrupt_before_the_last_step_leaves_the_old_store(tmp_path, monkeypatch):
    write(tmp_path / "s")
    before = sorted((tmp_path / "s").iterdir())

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(store_writer, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "s", RECORDS[:2])
    assert sorted((tmp_path / "s").iterdir()) == before
    assert_same(open_store(tmp_path / "s", ROOT), RECORDS)


def test_what_a_killed_import_left_is_removed_by_the_next(tmp_path):
    write(tmp_path / "s")
    for name in ("records-dead.arrow", ".records-dead.arrow.x1"):
        (tmp_path / "s" / name).write_bytes(b"half")
    write(tmp_path / "s")
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names == {"store.json", ".lock", info_of(tmp_path)["data"]}


def test_two_imports_at_once_are_an_error(tmp_path):
    write(tmp_path / "s")
    with open(tmp_path / "s" / ".lock", "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"/s: another import is writing it"):
            write(tmp_path / "s", RECORDS[:2])
    assert_same(open_store(tmp_path / "s", ROOT), RECORDS)


def test_without_a_store_the_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"s/store\.json: there is no such file"):
        open_store(tmp_path / "s", ROOT)


def test_another_format_version_is_named(tmp_path):
    write(tmp_path / "s")
    info = json.loads((tmp_path / "s" / "store.json").read_text())
    (tmp_path / "s" / "store.json").write_text(json.dumps(info | {"format": 2}))
    with pytest.raises(InputError, match=r"is of format 2, this version of WEND reads 1"):
        open_store(tmp_path / "s", ROOT)


def test_data_that_are_cut_off_or_gone_are_named(tmp_path):
    write(tmp_path / "s")
    data = tmp_path / "s" / info_of(tmp_path)["data"]
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=rf"arrow: has {len(whole) - 1} bytes, not {len(whole)}"):
        open_store(tmp_path / "s", ROOT)
    data.unlink()
    with pytest.raises(MissingFileError, match=r"/s: its file .*arrow is gone"):
        open_store(tmp_path / "s", ROOT)


def test_no_damage_to_the_description_goes_unseen(tmp_path):
    write(tmp_path / "s")
    path = tmp_path / "s" / "store.json"
    text = path.read_text()
    broken = [text[:end] for end in range(0, len(text), 37)]
    used = ("format", "data", "bytes", "root", "rules", "counts", "columns")
    for key in used:
        rest = {k: v for k, v in info_of(tmp_path).items() if k != key}
        broken += [json.dumps(rest | extra) for extra in ({}, {key: None}, {key: [1]}, {key: "x"})]
    for name, (kind, start, length) in info_of(tmp_path)["columns"].items():
        size = info_of(tmp_path)["bytes"]
        for wrong in (None, [kind, start], ["z", start, length], [kind, size, length + 1]):
            columns = info_of(tmp_path)["columns"] | {name: wrong}
            broken.append(json.dumps(info_of(tmp_path) | {"columns": columns}))
    broken.append(json.dumps(info_of(tmp_path) | {"counts": {"images": 2}}))
    for one in broken:
        path.write_text(one)
        with pytest.raises(InputError, match=r"/s(/|: )"):
            open_store(tmp_path / "s", ROOT)
    assert len(broken) > 80
