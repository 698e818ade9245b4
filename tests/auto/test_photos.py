"""What is seen in a folder of photos."""

import os

import numpy as np
import pytest
from PIL import Image

from wend.auto import photos as photos_module
from wend.auto.photos import look
from wend.errors import InputError, MissingFileError


def noise(seed, size=(40, 30)):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Photos of many kinds; a file that is cut off, and one that is none."""
    root = tmp_path / "Fotos von Käthe"
    (root / "sub folder").mkdir(parents=True)
    noise(0).save(root / "a.jpg")
    noise(0).save(root / "a as.png")
    noise(1).save(root / "ü.webp", lossless=True)
    noise(2).convert("L").save(root / "grey.png")
    noise(3).convert("RGBA").save(root / "alpha.png")
    noise(4).convert("CMYK").save(root / "sub folder" / "cmyk.jpg")
    wide = np.random.default_rng(5).integers(0, 65536, (20, 25)).astype(np.uint16)
    Image.fromarray(wide).save(root / "sub folder" / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(6).save(root / "turned.jpg", exif=exif)
    whole = (root / "a.jpg").read_bytes()
    (root / "copy.jpg").write_bytes(whole)
    (root / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "none.jpg").write_bytes(b"no image")
    (root / "notes.txt").write_text("x")
    return root


def seen(folder, output=None, exif="apply"):
    output = output or folder.parent / "out"
    return look(folder, output, output / "photos.jsonl", exif)


def test_every_kind_of_photo_is_seen_and_what_cannot_be_read_is_counted(folder):
    photos = seen(folder)
    sizes = {photo.path: (photo.width, photo.height) for photo in photos.readable}
    assert sizes["turned.jpg"] == (30, 40)
    assert sizes["sub folder/wide.png"] == (25, 20)
    assert len(photos.photos) == 11
    bad = {photo.path: photo.problem for photo in photos.photos if photo.problem}
    assert sorted(bad) == ["cut.jpg", "none.jpg"]
    assert photos.others == {".txt": 1}
    assert photos.groups.max() + 1 == 7  # a.jpg with its copies as JPEG and PNG
    lines = {
        line.split("  ")[0]: line.split("  ", 1)[1].split()
        for line in photos.table(np.zeros(9, dtype=bool)).splitlines()
    }
    assert lines["photos"] == ["11", "in", "2", "folders"]
    assert lines["unreadable, left out"][0] == "2"
    assert lines["with an orientation in EXIF"][0] == "1"
    assert lines["copies, byte by byte"] == ["1"]
    assert lines["copies, by their pixels"] == ["0"]  # JPEG's pixels are others
    assert lines["near duplicates"] == ["3", "in", "1", "groups"]
    assert lines["other files, not read"] == ["1", ".txt", "1"]


def test_photos_as_stored_have_their_stored_size(folder):
    stored = {photo.path: photo for photo in seen(folder, exif="ignore").readable}
    assert (stored["turned.jpg"].width, stored["turned.jpg"].height) == (40, 30)


def test_pixels_that_are_the_same_in_another_file_are_counted(tmp_path):
    for name in ("a.png", "b.bmp"):
        noise(0).save(tmp_path / name)
    photos = seen(tmp_path, tmp_path / "out")
    first, second = photos.readable
    assert first.file_digest != second.file_digest
    assert first.pixel_digest == second.pixel_digest


def test_only_new_and_changed_photos_are_read_again(folder, monkeypatch):
    first = seen(folder)
    read = []
    original = photos_module._look
    monkeypatch.setattr(
        photos_module,
        "_look",
        lambda root, path, **how: read.append(path) or original(root, path, **how),
    )
    assert seen(folder).digest == first.digest
    assert read == []
    noise(9).save(folder / "new.png")
    os.utime(folder / "a.jpg", ns=(1, 1))
    (folder / "copy.jpg").unlink()
    second = seen(folder)
    assert read == ["a.jpg", "new.png"]
    assert second.digest != first.digest
    assert "copy.jpg" not in {photo.path for photo in second.photos}


def test_pictures_in_an_output_folder_within_are_no_photos(folder):
    output = folder / "out"
    output.mkdir()
    before = len(seen(folder, output).photos)
    noise(7).save(output / "picture.jpg")
    noise(8).save(folder / "out.jpg")
    assert len(seen(folder, output).photos) == before + 1
    with pytest.raises(InputError, match="is the folder of the photos"):
        look(folder, folder, folder / "photos.jsonl", "apply")


def test_no_folder_and_a_file_are_told_apart(tmp_path):
    file = tmp_path / "a.jpg"
    noise(0).save(file)
    with pytest.raises(MissingFileError, match=r"a\.jpg: is a file; expected the folder"):
        look(file, tmp_path / "out", tmp_path / "r.jsonl", "apply")
    with pytest.raises(MissingFileError, match="nowhere: there is no such folder; expected"):
        look(tmp_path / "nowhere", tmp_path / "out", tmp_path / "r.jsonl", "apply")


def test_no_photo_is_an_error_that_says_what_there_is(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(MissingFileError, match=r"holds no photo .*; other files: \.heic 1"):
        seen(tmp_path, tmp_path / "out")
    (tmp_path / "b.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="none of 1 photos can be read"):
        seen(tmp_path, tmp_path / "out")
