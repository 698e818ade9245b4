"""Photos of every EXIF orientation: a box lies on its object by either policy, or it is an error.

Boxes are those of the bright pixels, as Pillow alone reads the file (``ignore``) or as its own
``exif_transpose`` turns it (``apply``).
"""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image, ImageColor, ImageOps

from wend.datasets.catalog import DataSets
from wend.datasets.importing import import_data_set
from wend.errors import BadImageError, InputError
from wend.images.orientation import read_orientations
from wend.images.reading import read_image, read_image_size
from wend.loading.check import check_data_set
from wend.loading.crop import CropMapper
from wend.loading.fill_cache import fill_cache, open_caches
from wend.reports.draw import draw_record
from wend.reports.roles import TRUTH

ORIENTATIONS = range(1, 9)
BRIGHT = 128


def bounds(pixels):
    """The box of the bright pixels of an image."""
    bright = np.asarray(pixels.convert("L") if isinstance(pixels, Image.Image) else pixels)
    bright = (bright if bright.ndim == 2 else bright[..., 0]) > BRIGHT
    ys, xs = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    return np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1], dtype=float)


def photo(path, orientation, ending=".png"):
    """A dark photo of 60x40 stored pixels with a bright rectangle in a corner."""
    image = Image.new("RGB", (60, 40), (10, 10, 10))
    image.paste((250, 250, 250), (34, 4, 56, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path / f"{orientation}{ending}", exif=exif)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two declarations of the same eight photos, ``ignore`` and ``apply``, each with its truth."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    monkeypatch.delenv("WEND_DATASETS", raising=False)
    monkeypatch.delenv("WEND_STORES", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    lines = {"ignore": [], "apply": []}
    for orientation in ORIENTATIONS:
        photo(tmp_path / "photos", orientation)
        stored = Image.open(tmp_path / f"photos/{orientation}.png")
        for policy, image in (("ignore", stored), ("apply", ImageOps.exif_transpose(stored))):
            lines[policy].append(f"{orientation}.png,{','.join(map(str, bounds(image)))}")
    for policy, rows in lines.items():
        (tmp_path / f"{policy}.txt").write_text("\n".join(rows) + "\n")
        declare(tmp_path, policy, policy)
    return tmp_path


def declare(root, name, policy, annotations=None):
    (root / f"{name}.yaml").write_text(
        f"format: folder\nimages: photos\nannotations: {annotations or f'{name}.txt'}\n"
        f"exif: {policy}\n"
    )


def assert_on_object(sample, boxes=None):
    (box,) = sample.boxes if boxes is None else boxes
    np.testing.assert_allclose(box, bounds(sample.image), atol=1.5)


@pytest.mark.parametrize("policy", ["ignore", "apply"])
def test_boxes_lie_on_the_objects_from_files_a_store_and_a_cache(root, policy):
    torch.manual_seed(0)
    data_set = DataSets().get(policy)
    assert data_set.exif == policy
    import_data_set(DataSets(), policy)
    store = DataSets().get(policy)
    assert store.reopen is not None
    assert fill_cache(data_set, str(root / "caches"), 64, root) == []
    caches = open_caches(str(root / "caches"), [data_set], 64, root)
    for records in (data_set, store):
        for record in records:
            upright = Image.open(record.file_name)
            size = (ImageOps.exif_transpose(upright) if policy == "apply" else upright).size
            assert (record.width, record.height) == size
            for options in ({"train": False}, {"train": True}, {"train": False, "caches": caches}):
                sample = CropMapper(64, 56, **options)(
                    record.file_name, record.width, record.height, record.gt_boxes, record.exif
                )
                assert_on_object(sample)


def test_a_cache_of_one_policy_is_not_used_for_the_other(root):
    sets = {policy: DataSets().get(policy) for policy in ("ignore", "apply")}
    caches = open_caches(str(root / "caches"), list(sets.values()), 64, root)
    for _ in range(2):  # filled, and used
        for data_set in sets.values():
            record = data_set[2]  # turned by 180 degrees, so that its size does not tell
            mapper = CropMapper(64, 56, train=False, caches=caches)
            sample = mapper(record.file_name, 60, 40, record.gt_boxes, record.exif)
            assert_on_object(sample)


@pytest.mark.parametrize("policy", ["ignore", "apply"])
def test_pictures_show_the_box_on_the_object(root, policy):
    for record in DataSets().get(policy):
        picture = np.asarray(draw_record(record, np.zeros((0, 4)), np.zeros(0), side=60))
        lines = (picture == ImageColor.getrgb(TRUTH.color)).all(-1)  # three pixels wide
        np.testing.assert_allclose(bounds(255 * lines), record.gt_boxes[0], atol=2)


@pytest.mark.parametrize("policy", ["ignore", "apply"])
def test_torchvisions_images_are_the_policys(root, policy):
    from wend.loading.selection import Selection
    from wend.tv.dataset import CroppedImages

    images = CroppedImages(
        Selection([DataSets().get(policy)], with_boxes=True), CropMapper(64, 56, train=False)
    )
    for index in range(len(images)):
        example = images[index]
        (box,) = example.boxes.numpy()
        np.testing.assert_allclose(box, bounds(example.image.permute(1, 2, 0).numpy()), atol=1.5)


@pytest.mark.parametrize("policy", ["ignore", "apply"])
def test_border_boxes_are_made_in_the_policys_pixels(root, policy):
    from wend.localize.border_prior import localize

    data_set = DataSets().get(policy)
    results = localize(data_set.file_names, exif=policy)
    for record, (result,) in zip(data_set, results, strict=True):
        x0, y0, x1, y1 = np.array(result.box) * np.tile([record.width, record.height], 2)
        a0, b0, a1, b1 = record.gt_boxes[0]
        assert min(x1, a1) > max(x0, a0)  # the other corner is far away
        assert min(y1, b1) > max(y0, b0)


def coco(root, name, policy, sizes):
    """A COCO JSON of the photos with these sizes, and its declaration."""
    images = [
        {"id": i, "file_name": f"{i}.png", "width": width, "height": height}
        for i, (width, height) in sizes.items()
    ]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 4, 20, 20], "iscrowd": 0, "area": 9}
        for i in sizes
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (root / f"{name}.json").write_text(json.dumps(content))
    (root / f"{name}.yaml").write_text(
        f"format: coco\nimages: photos\nannotations: {name}.json\nexif: {policy}\n"
    )


@pytest.mark.parametrize(
    ("policy", "size", "other"), [("ignore", (40, 60), "apply"), ("apply", (60, 40), "ignore")]
)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_stated_size_of_the_other_policy_is_an_error_that_names_it(
    root, policy, size, other, orientation
):
    declare(root, "folder", policy, "stated.json")
    coco(root, "stated", policy, {orientation: size})
    with pytest.raises(InputError, match=rf"EXIF orientation {orientation}: .* 'exif: {other}'"):
        DataSets().get("folder")
    (record,) = DataSets().get("stated")
    with pytest.raises(BadImageError, match=rf"EXIF orientation {orientation}: .* 'exif: {other}'"):
        CropMapper(64, 56, train=True)(
            record.file_name, *size, boxes=record.gt_boxes, exif=record.exif
        )


def test_the_check_counts_them_and_names_the_policy_that_fits(root, caplog):
    caplog.set_level(logging.INFO, "wend")
    coco(root, "stated", "ignore", {1: (60, 40), 3: (60, 40), 6: (40, 60), 8: (60, 40)})
    assert check_data_set(DataSets(), "stated", str(root / "list")) == 1
    rows = [json.loads(line) for line in (root / "list").read_text().splitlines()]
    turned = [(row["key"], row["detail"]) for row in rows if row["problem"] == "turned by EXIF"]
    assert turned == [
        (f"{i}.png", f"EXIF orientation {i}; it is not applied (exif: ignore)") for i in (3, 6, 8)
    ]
    (wrong,) = [row for row in rows if row["problem"] == "other size than recorded"]
    assert wrong["key"] == "6.png"
    assert "'exif: apply'" in wrong["detail"]


def test_a_policy_is_one_of_two(root):
    declare(root, "odd", "rotate", "ignore.txt")
    with pytest.raises(InputError, match=r"line 4: key 'exif': expected one of ignore, apply"):
        DataSets().get("odd")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_orientations_are_counted_from_headers_of_all_kinds_of_files(tmp_path, ending):
    for orientation in ORIENTATIONS:
        photo(tmp_path, orientation, ending)
    paths = [tmp_path / f"{orientation}{ending}" for orientation in ORIENTATIONS]
    # Pillow turns TIFF itself
    expected = [1] * 8 if ending == ".tif" else list(ORIENTATIONS)
    assert read_orientations([*paths, tmp_path / "gone"]).tolist() == [*expected, 1]
    for path in paths:
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image).convert("RGB")
        pixels = read_image(path, "apply")
        assert np.array_equal(np.asarray(pixels), np.asarray(turned))
        assert read_image_size(path, "apply") == turned.size
        assert read_image_size(path) == read_image(path).size


def test_a_png_with_its_exif_behind_the_pixels_is_turned_too(tmp_path):
    photo(tmp_path, 6)
    content = (tmp_path / "6.png").read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    last = content.index(b"IEND") - 4
    moved = content[:start] + content[end:last] + content[start:end] + content[last:]
    (tmp_path / "moved.png").write_bytes(moved)
    assert read_image_size(tmp_path / "moved.png", "apply") == (40, 60)
    assert read_image(tmp_path / "moved.png", "apply").size == (40, 60)
    assert read_orientations([tmp_path / "moved.png"]).tolist() == [6]
