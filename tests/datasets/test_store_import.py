"""``wend data import``, and how the catalog notices what an import no longer stands for."""

import json
import logging
import os

import numpy as np
import pytest
from PIL import Image

from wend.cli.parser import main
from wend.datasets import fingerprints, known_sizes
from wend.datasets.catalog import DataSets
from wend.datasets.known_sizes import KnownSizes
from wend.images import reading as images
from wend.structures.records import ImageRecord

NAME = "cub_train_c2am"
BOXES = {"x/train/002.Gull/gull_b.png": [0.25, 0, 0.5, 1]}


@pytest.fixture
def root(tmp_path, write_cub, write_c2am, monkeypatch):
    """The folder of a data set of two training images, one of which has a pseudo box."""
    root = tmp_path / "sets"
    write_cub(root)
    write_c2am(root / "c2am_boxes/train/pseudo_boxes", BOXES)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    monkeypatch.delenv("WEND_STORES", raising=False)
    return root


def run(*arguments, capsys=None):
    """Exit status and what was printed."""
    logging.getLogger("wend").handlers.clear()
    status = main(["data", "import", *arguments])
    said = capsys.readouterr()
    return status, said.out + said.err


def store_file(root, name=NAME):
    return root / ".wend" / name / "store.json"


def used(caplog):
    """Whether the catalog takes the store, and its warnings."""
    caplog.clear()
    logging.getLogger("wend").propagate = True
    with caplog.at_level(logging.INFO, logger="wend"):
        data_set = DataSets().get(NAME)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert list(data_set.image_ids) == [3, 7]
    return (data_set.reopen is not None), warnings


def test_names_are_imported_and_then_read_from_the_store(root, capsys, caplog):
    from_files = DataSets().read(NAME)
    assert used(caplog) == (False, [])  # no store is no reason to warn
    status, said = run(NAME, "cub_test", capsys=capsys)
    assert status == 0
    assert "cub_train_c2am: 2 image sizes read from headers, 0 known from before" in said
    assert "cub_train_c2am: 2 images; 2 true boxes on 2, 1 pseudo boxes on 1; " in said
    assert f"MB in {root}/.wend/cub_test" in said
    assert used(caplog) == (True, [])
    store = DataSets().get(NAME)
    assert (store.name, store.train_on) == (from_files.name, from_files.train_on)
    for stored, record in zip(store, from_files, strict=True):
        for name, value in vars(record).items():
            assert np.array_equal(getattr(stored, name), value), name
    assert store.training_boxes.with_boxes.tolist() == [1]


def test_the_second_import_does_nothing_and_says_so(root, capsys, monkeypatch):
    run(NAME, capsys=capsys)
    before = store_file(root).read_bytes()

    def read(*_):
        raise AssertionError("nothing is to be read")

    monkeypatch.setattr(DataSets, "read", read)
    status, said = run(NAME, capsys=capsys)
    assert status == 0
    assert "cub_train_c2am: nothing to do: 2 images, imported 20" in said
    assert store_file(root).read_bytes() == before


def _touch(path):
    os.utime(path, ns=(1, 1))


CHANGES = {
    "a list is edited": (
        lambda r: _touch(r / "CUB_200_2011/images.txt"),
        "CUB_200_2011 was changed",
    ),
    "an image more": (
        lambda r: (r / "CUB_200_2011/images/001.Wren/new.png").write_bytes(b""),
        "CUB_200_2011/images was changed",
    ),
    "boxes more": (
        lambda r: (r / "c2am_boxes/train/pseudo_boxes/9_0_bbox.json").write_text("{}"),
        "c2am_boxes/train/pseudo_boxes has 2 entries, had 1",
    ),
    "boxes rewritten": (
        lambda r: (r / "c2am_boxes/train/pseudo_boxes/0_0_bbox.json").write_text(
            json.dumps({**BOXES, "x/train/001.Wren/wren_a.png": [0, 0, 1, 0.5]})
        ),
        "c2am_boxes/train/pseudo_boxes was changed",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_named_and_the_files_are_read(root, capsys, caplog, change):
    run(NAME, capsys=capsys)
    apply, what = CHANGES[change]
    apply(root)
    taken, (warning,) = used(caplog)
    assert not taken
    store = f"{root}/.wend/{NAME}"
    assert warning.startswith(f"{NAME}: read from its files, not from the store {store}: ")
    assert what in warning
    assert warning.endswith("Run 'wend data import cub_train_c2am'")
    status, said = run(NAME, capsys=capsys)
    assert status == 0
    assert "importing again" in said
    assert used(caplog) == (True, [])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda info: info | {"format": 0}, "is of format 0, this version of WEND reads 1"),
        (lambda info: info | {"bytes": 5}, "bytes, not 5"),
        (lambda info: info | {"sources": [{}]}, "is not as WEND writes it (KeyError('path'))"),
        (lambda info: [], "is of format None"),
        (lambda info: info | {"scores": 0, "counts": {"images": 2}}, "KeyError('pseudo_boxes')"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_and_replaced(root, capsys, caplog, damage, message):
    run(NAME, capsys=capsys)
    info = json.loads(store_file(root).read_text())
    store_file(root).write_text(json.dumps(damage(info)))
    taken, (warning,) = used(caplog)
    assert not taken
    assert message in warning
    assert "Run 'wend data import cub_train_c2am'" in warning
    status, said = run(NAME, capsys=capsys)
    assert status == 0
    assert "cannot be used any more" in said
    assert used(caplog) == (True, [])


def test_the_whole_folder_can_move(root, capsys, caplog, monkeypatch):
    run(NAME, capsys=capsys)
    moved = root.parent / "moved"
    root.rename(moved)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(moved))
    assert used(caplog) == (True, [])
    assert DataSets().get(NAME)[0].file_name.startswith(f"{moved}/CUB_200_2011/images/001")


def test_stores_can_lie_elsewhere(root, capsys, caplog, monkeypatch, tmp_path):
    status, said = run(NAME, "--output", str(tmp_path / "fast"), capsys=capsys)
    assert status == 0
    assert f"MB in {tmp_path}/fast/{NAME}" in said
    assert used(caplog) == (False, [])
    monkeypatch.setenv("WEND_STORES", str(tmp_path / "fast"))
    assert used(caplog) == (True, [])


@pytest.fixture
def opened(monkeypatch):
    """Names of the images that are opened."""
    names = []
    real = images.open_image

    def watched(path, *limit):
        names.append(os.path.basename(path))
        return real(path, *limit)

    monkeypatch.setattr(images, "open_image", watched)
    return names


def _imported_later(root, nanoseconds):
    """Make the store look as if its import had begun so much after the images were written."""
    info = json.loads(store_file(root).read_text())
    newest = max(p.stat().st_ctime_ns for p in root.rglob("*.png"))
    started = newest + known_sizes.CLOCKS_DIFFER + nanoseconds
    store_file(root).write_text(json.dumps(info | {"started_ns": started}))
    return info


def test_sizes_are_read_again_only_of_images_that_were_touched_since(root, capsys, opened):
    run(NAME, capsys=capsys)
    assert sorted(opened) == ["gull_b.png", "wren_a.png"]
    _imported_later(root, 1)
    gull = root / "CUB_200_2011/images/002.Gull/gull_b.png"
    before = gull.stat()
    Image.new("RGB", (40, 20)).save(gull)
    os.utime(gull, ns=(before.st_atime_ns, before.st_mtime_ns))  # as unpacking sets it
    opened.clear()
    (root / "c2am_boxes/train/pseudo_boxes/9_0_bbox.json").write_text("{}")
    status, said = run(NAME, capsys=capsys)
    assert status == 0
    assert "1 image sizes read from headers, 1 known from before" in said
    assert opened == ["gull_b.png"]
    assert DataSets().get(NAME).sizes.tolist() == [[20, 10], [40, 20]]


def test_sizes_are_shared_between_data_sets_of_the_same_images(root, capsys, opened):
    run(NAME, capsys=capsys)
    _imported_later(root, 1)
    opened.clear()
    _, said = run("cub_train", capsys=capsys)
    assert "cub_train: 0 image sizes read from headers, 2 known from before" in said
    assert opened == []
    _, said = run("cub_train", "--force", capsys=capsys)
    assert "cub_train: 2 image sizes read from headers, 0 known from before" in said


def test_an_image_as_new_as_the_import_is_read_again(root, capsys):
    run(NAME, capsys=capsys)
    path = root / "CUB_200_2011/images/001.Wren/wren_a.png"
    _imported_later(root, 1)
    assert KnownSizes([root / ".wend" / NAME], root)(path) == (20, 10)
    _imported_later(root, 0)
    newest = max(root.rglob("*.png"), key=lambda p: p.stat().st_ctime_ns)
    assert KnownSizes([root / ".wend" / NAME], root)(newest) is None


def test_sizes_that_came_from_a_list_are_not_passed_on(root, capsys, register):
    path = root / "CUB_200_2011/images/001.Wren/wren_a.png"
    listed = [ImageRecord("a", str(path), 999, 999)]
    register("listed", lambda: listed, sources=lambda: [path])
    run("listed", capsys=capsys)
    info = json.loads(store_file(root, "listed").read_text())
    assert info["sizes_from_headers"] is False
    assert KnownSizes([root / ".wend" / "listed"], root)(path) is None
    _, said = run(NAME, capsys=capsys)
    assert "2 image sizes read from headers" in said


def test_a_data_set_without_known_sources_is_refused(root, capsys, register):
    register("mine", lambda: [])
    status, said = run("mine", capsys=capsys)
    assert status == 2
    assert said.startswith("error: data set 'mine': was registered without its sources")
    assert said.count("\n") == 1


def test_the_root_is_the_arguments_and_no_environment_is_changed(
    root, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    status, _ = run(NAME, "--datasets-root", str(root), capsys=capsys)
    assert status == 0
    assert store_file(root).is_file()
    assert os.environ["DETECTRON2_DATASETS"] == str(tmp_path / "nowhere")


def test_an_image_whose_header_cannot_be_read_ends_the_import(root, capsys):
    (root / "CUB_200_2011/images/002.Gull/gull_b.png").write_bytes(b"")
    status, said = run(NAME, capsys=capsys)
    assert status == 2
    assert "gull_b.png: cannot be read as an image" in said
    assert not store_file(root).exists()


def test_an_unknown_name_is_refused_before_anything_is_written(root, capsys):
    status, said = run("cub_trian", capsys=capsys)
    assert status == 2
    assert "error: unknown data set 'cub_trian'. Did you mean 'cub_train'?" in said
    assert not (root / ".wend").exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted by Ctrl-C; what was there before is as it was"),
        (OSError(28, "No space left on device"), 2, "No space left on device); what was there"),
    ],
)
def test_an_import_that_ends_early_leaves_the_old_store(
    root, capsys, monkeypatch, error, status, message
):
    run(NAME, capsys=capsys)
    before = {path.name: path.read_bytes() for path in store_file(root).parent.iterdir()}

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("wend.datasets.store_writer.os.fsync", fail)
        ended, said = run(NAME, "--force", capsys=capsys)
    assert ended == status
    assert message in said
    assert {p.name: p.read_bytes() for p in store_file(root).parent.iterdir()} == before


def test_a_change_while_it_is_imported_is_noticed_afterwards(root, capsys, caplog, monkeypatch):
    read = DataSets.read

    def changed(data_sets, name, *options):
        data_set = read(data_sets, name, *options)
        _touch(root / "CUB_200_2011/images.txt")
        return data_set

    monkeypatch.setattr(DataSets, "read", changed)
    run(NAME, capsys=capsys)
    taken, (warning,) = used(caplog)
    assert not taken
    assert "CUB_200_2011 was changed" in warning


def test_folders_in_folders_and_dangling_links_are_seen(tmp_path):
    def look():
        return fingerprints.fingerprint(tmp_path, tmp_path.parent)

    deep = tmp_path / "train" / "n01"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to("nowhere")
    first = look()
    assert "sha256" in first
    assert look() == first
    if (tmp_path / "train").stat().st_nlink > 2:  # a file system that counts folders
        (deep / "a.jpg").write_bytes(b"")
        assert look() != first


def test_of_a_very_long_folder_only_the_names_count(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "MAX_STATS", 2)
    for name in "abc":
        (tmp_path / name).write_text("")
    first = fingerprints.fingerprint(tmp_path, tmp_path)
    (tmp_path / "a").write_text("more")
    assert fingerprints.fingerprint(tmp_path, tmp_path) == first
    (tmp_path / "d").write_text("")
    changed = fingerprints.changes([first], [fingerprints.fingerprint(tmp_path, tmp_path)])
    assert changed == [". has 4 entries, had 3"]


def test_changes_say_what_came_went_and_grew():
    one, two = {"path": "a", "bytes": 1, "mtime_ns": 5}, {"path": "b", "entries": 3, "sha256": "x"}
    say = fingerprints.changes
    assert say([one, two], [one, two]) == []
    assert say([one], [one | {"bytes": 2}]) == ["a has 2 bytes, had 1"]
    assert say([one], [one | {"mtime_ns": 6}]) == ["a was changed"]
    assert say([two], [{"path": "b"}]) == ["b is gone"]
    assert say([one], [two]) == ["a is no source any more", "b is a new source"]
    assert say([{"path": "a"}], [one]) == ["a has 1 bytes, had none"]
