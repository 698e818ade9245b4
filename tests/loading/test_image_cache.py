"""wend.loading.image_cache and fill_cache: the pixels of the files, whatever interrupts."""

import errno
import logging
import multiprocessing
import os
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image

from wend.datasets.catalog import DataSets
from wend.errors import BadImageError, InputError
from wend.images.reading import fit, read_image, squash
from wend.loading import decoders, fill_cache, image_cache
from wend.loading.crop import CropMapper
from wend.loading.fill_cache import open_caches
from wend.loading.image_cache import ImageCache, cache_folder, prepare
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

SIDE = 16
BOX = np.array([[2.0, 1, 9, 8]])


def draw(path, size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return ImageRecord(seed, str(path), *size, pseudo_boxes=BOX)


@pytest.fixture
def records(tmp_path, monkeypatch, register):
    """Six images, of all sorts of names, known as the data set "birds"."""
    root = tmp_path / "data"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    names = ["a/1.jpg", "a/2 x.png", "b/ü'.jpg", "b/1.jpg", "c/ 3.jpg", "c/4.jpg"]
    made = [draw(root / name, (20 + i, 12 + 3 * i), i) for i, name in enumerate(names)]
    register("birds", lambda: made)
    return made


def birds():
    return DataSets().get("birds", keep_unreadable=True)


def fill(tmp_path, **options):
    return fill_cache.fill_cache(
        birds(), str(tmp_path / "caches"), SIDE, tmp_path / "data", **options
    )


def opened(tmp_path) -> ImageCache:
    return open_caches(str(tmp_path / "caches"), [birds()], SIDE, tmp_path / "data")[0]


def assert_like_files(cache, records):
    for record in records:
        pixels, size = cache.resized(record.file_name)
        assert size == (record.width, record.height)
        np.testing.assert_array_equal(pixels, squash(read_image(record.file_name), SIDE))


@pytest.fixture
def no_reading(monkeypatch):
    """After ``no_reading()`` an image file that is decoded is an error."""

    def forbid():
        monkeypatch.setattr(decoders, "read_image", lambda path, *how: pytest.fail(f"read {path}"))

    return forbid


@pytest.mark.parametrize("way", ["command", "first use"])
def test_pixels_are_those_of_the_files_and_the_files_are_read_once(
    tmp_path, records, no_reading, way
):
    if way == "command":
        assert fill(tmp_path) == []
    else:
        assert_like_files(opened(tmp_path), records)
    expected = {r.image_id: squash(read_image(r.file_name), SIDE) for r in records}
    no_reading()
    cache = pickle.loads(pickle.dumps(opened(tmp_path)))  # noqa: S301  (as to a spawned worker)
    assert cache.num_filled() == len(cache) == 6
    for record in records:
        pixels, _ = cache.resized(record.file_name)
        np.testing.assert_array_equal(pixels, expected[record.image_id])
        assert not pixels.flags.writeable


@pytest.mark.parametrize("train", [True, False])
def test_crops_and_boxes_are_bit_equal_to_those_without_a_cache(
    tmp_path, records, no_reading, train
):
    fill(tmp_path)
    plain = CropMapper(SIDE, 12, train=train)
    torch.manual_seed(4)
    expected = [plain(r.file_name, r.width, r.height, r.pseudo_boxes) for r in records * 4]
    no_reading()
    cached = CropMapper(SIDE, 12, train=train, caches=[opened(tmp_path)])
    torch.manual_seed(4)
    for record, other in zip(records * 4, expected, strict=True):
        sample = cached(record.file_name, record.width, record.height, record.pseudo_boxes)
        assert sample.frame == other.frame
        assert sample.image.tobytes() == other.image.tobytes()
        assert sample.image.transpose(2, 0, 1).flags["C_CONTIGUOUS"]
        assert sample.image.flags.writeable  # not the cache's own
        assert sample.boxes.tobytes() == other.boxes.tobytes()


def test_files_are_raw_arrays_that_numpy_reads(tmp_path, records):
    fill(tmp_path)
    folder = tmp_path / "caches" / "birds-16"
    assert (folder / "pixels.bin").stat().st_size == 6 * 16 * 16 * 3
    pixels = np.fromfile(folder / "pixels.bin", np.uint8).reshape(6, 16, 16, 3)
    state = np.fromfile(folder / "state.bin", np.int64).reshape(6, 5)
    row = opened(tmp_path).row(records[3].file_name)
    np.testing.assert_array_equal(pixels[row], squash(read_image(records[3].file_name), SIDE))
    stat = os.stat(records[3].file_name)
    assert state[row, :4].tolist() == [stat.st_size, stat.st_mtime_ns, 23, 21]


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_noticed_and_read_anew(tmp_path, records, caplog, change):
    fill(tmp_path)
    path, stat = records[1].file_name, os.stat(records[1].file_name)
    Image.new("RGB", (21, 15), (9, 9, 9)).save(path)
    if change == "size":  # the old time is put back
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert os.stat(path).st_size != stat.st_size
    else:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    cache = opened(tmp_path)
    assert_like_files(cache, records)
    assert (cache.stale, cache.fill) == (1, True)
    assert f"{path} has changed since" in caplog.text
    assert (opened(tmp_path).resized(path)[0] == 9).all()
    Image.new("RGB", (30, 30)).save(path)
    with pytest.raises(BadImageError, match=r"is 30x30, expected 21x15 as recorded"):
        CropMapper(SIDE, 12, train=True, caches=[cache])(path, 21, 15, BOX)


def test_the_command_makes_stale_rows_again(tmp_path, records, caplog):
    fill(tmp_path)
    Image.new("RGB", (21, 15), (9, 9, 9)).save(records[1].file_name)
    caplog.set_level(logging.INFO, "wend")
    fill(tmp_path)
    assert "5 of 6 images are there, 1 are to be read, 1 of them since their" in caplog.text
    assert (opened(tmp_path).resized(records[1].file_name)[0] == 9).all()


def test_another_resize_has_its_own_cache_and_says_so(tmp_path, records, caplog):
    fill(tmp_path)
    cache = open_caches(str(tmp_path / "caches"), [birds()], 8, tmp_path / "data")[0]
    assert "no cache of birds for WEND.RESIZE 8 yet; there are: birds-16" in caplog.text
    assert (cache.resize, cache.num_filled()) == (8, 0)
    shutil.copytree(cache_folder(tmp_path / "caches", birds(), 16), tmp_path / "moved")
    with pytest.raises(InputError, match=r"moved: holds images squashed to 16x16, .* to 8x8;"):
        prepare(tmp_path / "moved", birds(), 8, "", fill=True)


def test_a_padded_view_has_its_own_cache_and_refuses_another(tmp_path, records):
    folder, root = str(tmp_path / "caches"), tmp_path / "data"
    fill(tmp_path)
    fill(tmp_path, padded=True)
    squashed, padded = (open_caches(folder, [birds()], SIDE, root, padded=p)[0] for p in (0, 1))
    assert [c.folder.name for c in (squashed, padded)] == ["birds-16", "birds-16-pad"]
    assert padded.num_filled() == 6
    for record in records:
        pixels, size = padded.resized(record.file_name)
        assert size == (record.width, record.height)
        np.testing.assert_array_equal(pixels, fit(read_image(record.file_name), SIDE))
    for cache, other in ((squashed, "pad"), (padded, "squash"), (padded, "crop")):
        with pytest.raises(InputError, match=r"birds-16.*: holds images .* ask for"):
            CropMapper(SIDE, 8, train=False, view=other, caches=[cache])
    squashed.folder.rename(tmp_path / "caches" / "gone")
    padded.folder.rename(squashed.folder)
    with pytest.raises(InputError, match=r"birds-16: holds images fitted and padded to 16x16"):
        open_caches(folder, [birds()], SIDE, root)


@pytest.mark.parametrize("train", [False, True])
def test_a_padded_view_sees_the_same_pixels_from_its_cache(tmp_path, records, train):
    fill(tmp_path, padded=True)
    caches = open_caches(str(tmp_path / "caches"), [birds()], SIDE, tmp_path / "data", padded=True)
    arguments = {"train": train, "view": "pad", "fill": (1, 2, 3)}
    for record in records:
        seen = []
        for each in ((), caches):
            torch.manual_seed(5)
            mapper = CropMapper(SIDE, 12, caches=each, **arguments)
            sample = mapper(record.file_name, record.width, record.height, BOX)
            seen.append((sample.image.tobytes(), sample.boxes.tolist(), sample.frame))
        assert seen[0] == seen[1]


def test_an_interrupted_filling_goes_on_where_it_stopped(tmp_path, records, monkeypatch):
    monkeypatch.setattr(fill_cache, "CHUNK", 2)
    count = []

    def interrupted(file_name, *how):
        count.append(file_name)
        if len(count) == 5:
            raise KeyboardInterrupt
        return read_image(file_name, *how)

    monkeypatch.setattr(decoders, "read_image", interrupted)
    monkeypatch.setattr("wend.images.threads.CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, workers=1)
    assert opened(tmp_path).num_filled() == 4
    count.clear()
    monkeypatch.setattr(
        decoders, "read_image", lambda name, *how: count.append(name) or read_image(name, *how)
    )
    fill(tmp_path)
    assert sorted(count) == sorted(r.file_name for r in records[4:])
    assert_like_files(opened(tmp_path), records)


def full_disk(monkeypatch, after):
    written = []
    real = os.pwrite

    def pwrite(handle, content, start):
        written.append(start)
        if len(written) > after:
            real(handle, content[: len(content) // 2], start)  # half of it, as a full disk does
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, content, start)

    monkeypatch.setattr(image_cache.os, "pwrite", pwrite)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_full_disk_leaves_what_is_there_and_the_training_goes_on(
    tmp_path, records, monkeypatch, caplog, after
):
    opened(tmp_path)
    with monkeypatch.context() as patch:
        full_disk(patch, after)
        cache = opened(tmp_path)
        assert_like_files(cache, records)
        assert not cache.fill
    assert "No space left on device); what is in it is used" in caplog.text
    assert caplog.text.count("No space") == 1
    again = opened(tmp_path)
    assert again.num_filled() == after // 2  # a row is two writes
    assert_like_files(again, records)
    assert opened(tmp_path).num_filled() == 6


def test_a_full_disk_ends_the_command_with_what_to_do(tmp_path, records, monkeypatch):
    opened(tmp_path)
    with monkeypatch.context() as patch:
        full_disk(patch, 3)
        with pytest.raises(InputError, match=r"No space left on device\); the 0 rows .* stay"):
            fill(tmp_path, workers=1)
    fill(tmp_path)
    assert_like_files(opened(tmp_path), records)


def test_an_index_that_cannot_be_written_leaves_the_old_cache(tmp_path, records, monkeypatch):
    fill(tmp_path)
    more = DataSet.from_records([*records, draw(tmp_path / "data" / "d" / "7.jpg", (9, 9), 7)])
    folder = cache_folder(tmp_path / "caches", birds(), SIDE)
    with monkeypatch.context() as patch:
        patch.setattr(image_cache.np, "save", lambda *_: (_ for _ in ()).throw(OSError("full")))
        with pytest.raises(InputError, match=r"birds-16: the cache cannot be written \(full\)"):
            prepare(folder, more, SIDE, str(tmp_path / "data"), fill=True)
    assert_like_files(opened(tmp_path), records)
    assert opened(tmp_path).num_filled() == 6
    cache = prepare(folder, more, SIDE, str(tmp_path / "data"), fill=True)
    assert (len(cache), cache.num_filled()) == (7, 6)  # nothing was read again
    assert_like_files(cache, more)


def test_disk_need_is_said_and_a_small_disk_refused(tmp_path, records, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "wend")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 4607))
    with pytest.raises(InputError, match=r"needs 0.0 MB more and the disk has 0.0 MB free"):
        opened(tmp_path)
    assert "6 images x 16 x 16 x 3 bytes = 0.0 MB" in caplog.text
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(9, 9, 4608))  # 6 * 16 * 16 * 3
    assert len(opened(tmp_path)) == 6


def test_damaged_pixels_are_noticed_and_read_anew(tmp_path, records, caplog):
    fill(tmp_path)
    path = cache_folder(tmp_path / "caches", birds(), SIDE) / "pixels.bin"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    assert_like_files(opened(tmp_path), records)
    assert "row 1 is damaged" in caplog.text
    assert path.read_bytes()[1000] == content[1000] ^ 1  # mended


def test_forked_processes_know_of_each_other_which_rows_were_checked(
    tmp_path, records, monkeypatch
):
    fill(tmp_path)
    cache = opened(tmp_path)
    path = records[2].file_name
    worker = multiprocessing.get_context("fork").Process(target=cache.resized, args=(path,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    monkeypatch.setattr(image_cache, "_checksum", lambda pixels: pytest.fail("checked again"))
    cache.resized(path)
    with pytest.raises(pytest.fail.Exception, match="checked again"):
        cache.resized(records[3].file_name)


@pytest.mark.parametrize("name", ["pixels.bin", "state.bin", "index.npy", "cache.json"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_cache_that_is_not_whole_is_named(tmp_path, records, name, how):
    fill(tmp_path)
    folder = cache_folder(tmp_path / "caches", birds(), SIDE)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-7]) if how == "cut" else path.unlink()
    with pytest.raises(InputError, match=r"birds-16\b.*(no whole|not a whole|there is no such)"):
        ImageCache(folder, str(tmp_path / "data"), fill=False)


def test_a_bad_image_is_an_error_with_and_without_a_row(tmp_path, records):
    path = records[2].file_name
    with open(path, "r+b") as file:
        file.truncate(300)
    (message,) = fill(tmp_path)
    assert message.startswith(f"{path}: cannot be read as an image")
    cache = opened(tmp_path)
    assert cache.num_filled() == 5
    with pytest.raises(BadImageError, match="cannot be read as an image"):
        cache.resized(path)
    os.unlink(records[0].file_name)  # whose row is filled
    with pytest.raises(BadImageError, match="there is no such image file"):
        cache.resized(records[0].file_name)


def test_the_cache_serves_a_moved_data_set_and_no_unknown_image(tmp_path, records, monkeypatch):
    fill(tmp_path)
    cache = opened(tmp_path)
    assert cache.resized(str(tmp_path / "data" / "a" / "other.jpg")) is None
    os.rename(tmp_path / "data", tmp_path / "elsewhere")
    moved = ImageCache(cache.folder, str(tmp_path / "elsewhere"), fill=False)
    assert moved.is_fresh(
        moved.row(str(tmp_path / "elsewhere/a/1.jpg")), str(tmp_path / "elsewhere/a/1.jpg")
    )
