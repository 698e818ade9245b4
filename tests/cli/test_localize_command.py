"""wend pseudo-boxes: files that our readers take, counts, resuming, and refused input."""

import argparse
import json
import logging
import re
from shutil import rmtree

import numpy as np
import pytest
import torch
from localize_reference import slow_box, slow_projections
from PIL import Image

from wend.cli import boxes_merge
from wend.cli import pseudo_boxes as localize_command
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.formats.coco import load_coco
from wend.formats.folder import load_folder
from wend.localize import border_prior, contrast_run, ddt_run, presets
from wend.localize.boxes import FoundBox
from wend.localize.found import EitherSide, from_row, image_row
from wend.localize.network_pass import NetworkPass
from wend.pseudo_boxes import attach_pseudo_boxes, read_boxes, read_c2am


@pytest.fixture
def command(toy_root, tmp_path, monkeypatch):
    """Runs ``wend pseudo-boxes`` on the toy test set (12 images, 6 classes), with changes."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))

    def call(*more, method="border", images=("--dataset", "toy_test")):
        parser = argparse.ArgumentParser()
        localize_command.add_arguments(parser)
        arguments = ["--method", method, *images, "--output", str(tmp_path / "out")]
        arguments += ["--num-workers", "0", *map(str, more)]
        return localize_command.run(parser.parse_args(arguments))

    return call


NETWORK = ["--backbone", "torchvision:vgg16", "--weights", "no.pth"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A torchvision ResNet-18 with random weights."""
    from torchvision import models

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(models.resnet18().state_dict(), file)
    return file


@pytest.fixture
def ddt(command, weights):
    def call(*more, **options):
        given = ("--backbone", "torchvision:resnet18", "--weights", weights, "--device", "cpu")
        sizes = ("--input-size", 96, "--batch-size", 2, "--layer", "layer2")
        return command(*given, *sizes, *more, method="ddt", **options)

    return call


def read_both(folder, records):
    """Boxes of each record from C2AM's layout and from COCO's JSON, both in original pixels."""
    attached, report = attach_pseudo_boxes(records, read_c2am(folder / "pseudo_boxes"))
    assert (report.matched, report.number("missing"), report.number("surplus")) == (
        len(records),
        0,
        0,
    )
    coco = {r.image_id: r for r in load_coco(folder / "pseudo_boxes.json")}
    first = np.array([r.pseudo_boxes[0] for r in attached])
    second = np.array([coco[r.image_id].gt_boxes[0] for r in records])
    assert [coco[r.image_id].key for r in records] == [r.key for r in records]
    return first, second


def expected_border(records):
    found = border_prior.localize([r.file_name for r in records])
    sizes = np.array([[r.width, r.height] * 2 for r in records])
    return np.array([box.box for (box,) in found]) * sizes


@pytest.mark.parametrize("per_file", [512, 5])
def test_both_files_hold_the_priors_boxes_in_our_readers(
    command, tmp_path, monkeypatch, caplog, per_file
):
    monkeypatch.setattr("wend.localize.writers.BOXES_PER_FILE", per_file)
    caplog.set_level(logging.INFO, "wend")
    assert command("--split", "test") == 0
    records = DataSets().get("toy_test")
    expected = expected_border(records)
    for boxes in read_both(tmp_path / "out/test", records):
        np.testing.assert_allclose(boxes, expected, atol=1e-9)
    files = sorted(path.name for path in (tmp_path / "out/test/pseudo_boxes").iterdir())
    assert files == [f"{i}_0_bbox.json" for i in range(-(-12 // per_file))]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test"]
    assert "12 images: 12 boxes, of which 0 are the whole image" in caplog.text
    rows = json.loads((tmp_path / "out/test/pseudo_boxes.json").read_text())["annotations"]
    assert all(0 < row["score"] <= 1 for row in rows)


@pytest.mark.parametrize("method", ["border", "ddt"])
def test_several_boxes_per_image_have_falling_scores_and_only_cocos_file(
    command, ddt, tmp_path, caplog, method
):
    make = command if method == "border" else ddt
    make("--split", "one")
    make("--split", "several", "--boxes", 3)
    assert "pseudo_boxes: not written: C2AM's files hold one box per image" in caplog.text
    one, several = (
        {r.key: r.gt_boxes for r in load_coco(tmp_path / "out" / split / "pseudo_boxes.json")}
        for split in ("one", "several")
    )
    counts = {len(boxes) for boxes in several.values()}
    assert counts <= {1, 2, 3}
    assert len(counts) > 1 or method == "ddt"  # random weights see one object at most
    rows = json.loads((tmp_path / "out/several/pseudo_boxes.json").read_text())
    best = {row["image_id"]: 1.0 for row in rows["annotations"]}
    for row in rows["annotations"]:
        assert 0 < row["score"] <= best[row["image_id"]]
        best[row["image_id"]] = row["score"]
    assert one.keys() == several.keys()
    caplog.clear()
    caplog.set_level(logging.INFO, "wend")
    make("--split", "several", "--boxes", 3)
    assert "is there already, made with the same settings" in caplog.text
    with pytest.raises(InputError, match=r"made with other settings \(boxes: 3, now None\)"):
        make("--split", "several")


def test_the_share_of_right_boxes_is_what_our_metric_says(command, tmp_path, caplog):
    from wend.evaluation.metrics import accuracy
    from wend.evaluation.per_image import score
    from wend.evaluation.protocols import get_protocol

    caplog.set_level(logging.INFO, "wend")
    command("--split", "test")
    folder = tmp_path / "out/test/pseudo_boxes"
    data_set, _ = attach_pseudo_boxes(DataSets().get("toy_test"), read_c2am(folder))
    scores = score(data_set, data_set.pseudo_boxes.scored(), get_protocol("original"))
    share = accuracy(scores, "gt_known_loc")
    assert f"{share:.1f} % of the 12 images with known" in caplog.text


def test_a_finished_output_is_left_and_another_ones_is_refused(command, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wend")
    command()
    file = tmp_path / "out/train/pseudo_boxes.json"
    before = file.stat().st_mtime_ns
    command()
    assert "is there already, made with the same settings" in caplog.text
    assert file.stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"made with other settings \(config: .*name another"):
        command("--side", 64)
    file.write_text('{"images": []}')
    with pytest.raises(InputError, match="is there already, not from wend pseudo-boxes"):
        command()
    file.unlink()
    with pytest.raises(InputError, match=r"pseudo_boxes: is there already, and .* is not beside"):
        command()


def test_an_interrupted_border_run_goes_on_after_its_last_image(command, tmp_path, monkeypatch):
    seen = []
    find = border_prior.find_boxes

    def counted(pixels, config, number):
        seen.append(1)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return find(pixels, config, number)

    monkeypatch.setattr(border_prior, "find_boxes", counted)
    with pytest.raises(KeyboardInterrupt):
        command()
    assert not (tmp_path / "out/train").exists()
    (lines,) = (tmp_path / "out/train.partial").iterdir()
    written = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(b"".join(written[:-1])[:-7])  # its cost is gone, and the last image cut off
    command()
    assert len(seen) == 6 + 12 - 4
    assert json.loads((tmp_path / "out/train/cost.json").read_text())["images"] == 12
    assert not lines.parent.exists()
    records = DataSets().get("toy_test")
    np.testing.assert_allclose(
        read_both(tmp_path / "out/train", records)[0], expected_border(records), atol=1e-9
    )


@pytest.mark.parametrize("options", [(), ("--keep-gib", 0), ("--group", "all", "--keep-gib", 0)])
def test_ddt_is_bitwise_the_same_after_an_interruption(ddt, tmp_path, monkeypatch, options):
    monkeypatch.setattr(ddt_run, "BLOCK_BATCHES", 1)
    ddt(*options, "--split", "whole")
    maps = NetworkPass._passed
    for stop in (2, 4):
        calls = []

        def interrupted(network, *given, calls=calls, stop=stop):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return maps(network, *given)

        monkeypatch.setattr(NetworkPass, "_passed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ddt(*options, "--split", "parts")
    monkeypatch.setattr(NetworkPass, "_passed", maps)
    ddt(*options, "--split", "parts")
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    read_both(tmp_path / "out/parts", DataSets().get("toy_test"))


def test_ddt_of_a_real_network_is_the_slow_ways(ddt, tmp_path, weights):
    """Per class: torchvision's own layers, all descriptors at once, np.cov and eigh."""
    from torchvision.models import resnet18
    from torchvision.transforms import v2 as T

    ddt()
    network = resnet18()
    network.load_state_dict(torch.load(weights))
    network.eval()
    steps = [T.Resize((96, 96)), T.PILToTensor(), T.ToDtype(torch.float32, scale=True)]
    steps.append(T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    records = DataSets().get("toy_test")
    mine = dict(
        zip([r.key for r in records], read_both(tmp_path / "out/train", records)[0], strict=True)
    )
    for class_id in range(6):
        members = [r for r in records if r.class_id == class_id]
        images = [T.Compose(steps)(Image.open(r.file_name).convert("RGB")) for r in members]
        with torch.no_grad():
            x = network.maxpool(network.relu(network.bn1(network.conv1(torch.stack(images)))))
            maps = network.layer2(network.layer1(x)).double().numpy()
        for record, value in zip(members, slow_projections(maps, "psol"), strict=True):
            size = np.tile([record.width, record.height], 2)
            np.testing.assert_allclose(mine[record.key], slow_box(value)[0] * size, atol=1e-6)


def write_images(folder, *names):
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(folder / name)


def test_a_folder_of_images_without_classes_comes_back_by_both_readers(command, tmp_path):
    write_images(tmp_path / "mine", "one.png", "a/b/two.png", "a/zwei ‘2’.png")
    command("--num-workers", 2, images=("--images", str(tmp_path / "mine")))
    records = load_folder(tmp_path / "mine", classes="none")
    c2am = read_boxes({"source": "c2am", "path": str(tmp_path / "out/train/pseudo_boxes")})
    coco = read_boxes({"source": "coco", "path": str(tmp_path / "out/train/pseudo_boxes.json")})
    for boxes in (c2am, coco):
        attached, report = attach_pseudo_boxes(records, boxes)
        assert (report.matched, report.number("missing"), report.number("surplus")) == (3, 0, 0)
        first = np.array([r.pseudo_boxes[0] for r in attached])
        np.testing.assert_allclose(first, expected_border(records), atol=1e-9)


def test_images_that_c2ams_files_cannot_tell_apart_have_a_coco_file_alone(
    command, tmp_path, caplog
):
    write_images(tmp_path / "mine", "x/a/one.png", "y/a/one.png")
    command(images=("--images", str(tmp_path / "mine")))
    assert "which some of the 2 images share; use" in caplog.text
    assert not (tmp_path / "out/train/pseudo_boxes").exists()
    assert len(load_coco(tmp_path / "out/train/pseudo_boxes.json")) == 2
    caplog.set_level(logging.INFO, "wend")
    command(images=("--images", str(tmp_path / "mine")))
    assert "made with the same settings" in caplog.text


def test_unreadable_images_end_the_run_or_are_left_out_and_named(command, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wend")
    folder = tmp_path / "mine/birds"
    write_images(folder, "a.jpg", "b.jpg")
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:-900])
    with pytest.raises(InputError, match=r"b\.jpg: cannot be read"):
        command(images=("--images", str(tmp_path / "mine")))
    command("--skip-unreadable", images=("--images", str(tmp_path / "mine")))
    assert "1 boxes, of which 0 are the whole image because nothing was found; 1" in caplog.text
    assert "left out: " in caplog.text
    assert list(read_c2am(tmp_path / "out/train/pseudo_boxes").keys) == ["birds/a.jpg"]


def test_images_without_a_readable_header_are_left_out_by_shards_and_their_merge_too(
    command, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "wend")
    folder = tmp_path / "my images"
    write_images(folder, "a.jpg", "c.jpg")
    (folder / "b.jpg").write_text("no image")
    images = ("--images", str(folder))
    with pytest.raises(InputError, match=r"b\.jpg: cannot be read"):
        command(images=images)
    command("--skip-unreadable", "--split", "whole", images=images)
    assert "3 images: 2 boxes, of which 0 are the whole image" in caplog.text
    assert "1 images could not be read" in caplog.text
    # it has no size, so that it cannot be listed
    assert load_coco(tmp_path / "out/whole/pseudo_boxes.json").keys == ["a.jpg", "c.jpg"]
    for index in (0, 1):
        command("--skip-unreadable", "--shard", f"{index}/2", images=images)
    assert f"make the whole: wend boxes merge {tmp_path}/out --images '{folder}'" in caplog.text
    merge(tmp_path, *images)
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "train"))
    assert whole.read_bytes() == parts.read_bytes()
    with pytest.raises(InputError, match=r"no part of an unfinished run .*train is there already"):
        merge(tmp_path, *images)


@pytest.mark.parametrize(
    ("method", "more", "message"),
    [
        ("border", ["--weights", "w.pth"], "leave out --weights, which is of methods of a"),
        ("border", ["--side", "8"], "--side: expected at least 16, got 8"),
        ("border", ["--split", "../x"], "--split: expected a folder's name such as train"),
        ("ddt", [], "needs --backbone and --weights, a local file"),
        ("ddt", ["--backbone", "x", "--weights", "y", "--side", "32"], "leave out --side, which"),
        ("border", ["--option", "a=1"], "leave out --option, which is of methods but border, ddt"),
        ("lost", ["--sign", "psol"], "leave out --sign, which is of --method ddt"),
        ("lost", [], "--method lost: needs --backbone and --weights"),
        ("losst", ["--backbone", "x", "--weights", "y"], "unknown method 'losst'. Did you mean"),
        (
            "lost",
            [*NETWORK, "--option", "k=3"],
            "no such option. It has: centred .yes., patches .100., whole",
        ),
        ("lost", [*NETWORK, "--option", "patches"], "expected NAME=VALUE"),
        ("lost", [*NETWORK, "--option", "patches=x"], "expected a value such as 100, got 'x'"),
        ("lost", [*NETWORK, "--option", "whole=1"], "expected true or false, got '1'"),
        ("ddt", ["--backbone", "torchvision:vgg16", "--weights", "no.pth"], "there is no such fil"),
        ("border", ["--boxes", "0"], "--boxes: expected at least 1, got 0"),
        ("border", ["--shard", "8/8"], "shards count from 0, so that of 8 the last is 7/8"),
        ("border", ["--shard", "1"], "--shard: expected I/N, such as 0/8, got '1'"),
        ("border", ["--shard", "0/0"], "--shard: expected I/N"),
        ("border", ["--num-workers", "-1"], "--num-workers: expected at least 0, got -1"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(command, method, more, message):
    with pytest.raises(InputError, match=message):
        command(*more, method=method)


def test_rows_of_parts_come_back_as_they_were_noted():
    one = (FoundBox((0.0, 0.1, 0.5, 1.0), 0.25),)
    two = (*one, FoundBox((0.5, 0.1, 0.75, 1.0), 0.125, True))
    for item in (one, two, "cut off", EitherSide(one, two, "7")):
        row = json.loads(json.dumps(image_row("a/b.jpg", item)))
        assert from_row(row) == ("a/b.jpg", item)


@pytest.mark.parametrize("method", ["border", "ddt"])
def test_shards_are_merged_to_the_bytes_of_one_process(command, ddt, tmp_path, caplog, method):
    make = command if method == "border" else ddt
    make("--split", "whole")
    caplog.set_level(logging.INFO, "wend")
    make("--split", "parts", "--shard", "1/3")
    assert "shard 1/3: done; of 12 images 4 are (not finished: shard 0/3, 2/3)" in caplog.text
    with pytest.raises(InputError, match=r"8 of 12 images are not done \(.*shard 0/3, 2/3\. Run"):
        merge(tmp_path, "--split", "parts")
    make("--split", "parts", "--shard", "0/3")
    with pytest.raises(InputError, match=r"boxes: None, now 2.*; remove .*parts\.partial to start"):
        make("--split", "parts", "--shard", "2/3", "--boxes", 2)
    make("--split", "parts", "--shard", "2/3")
    merge(tmp_path, "--split", "parts")
    whole, parts = (tmp_path / "out" / name for name in ("whole", "parts"))
    for file in ("pseudo_boxes.json", "pseudo_boxes/0_0_bbox.json"):
        text = (whole / file).read_text().replace("wend/whole/", "wend/parts/")
        assert (parts / file).read_text() == text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["parts", "whole"]
    with pytest.raises(InputError, match="holds no part of an unfinished run"):
        merge(tmp_path, "--split", "parts")


def merge(tmp_path, *more):
    parser = argparse.ArgumentParser()
    boxes_merge.add_arguments(parser)
    return boxes_merge.run(parser.parse_args([str(tmp_path / "out"), *more]))


def test_the_same_command_without_shard_does_the_rest_and_merges(command, tmp_path, monkeypatch):
    command("--split", "whole")
    command("--split", "parts", "--shard", "0/2")
    seen = []
    find = border_prior.find_boxes
    monkeypatch.setattr(border_prior, "find_boxes", lambda *given: seen.append(1) or find(*given))
    command("--split", "parts")
    assert len(seen) == 6
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


def test_a_page_shows_the_boxes_and_their_cost_and_comes_back_when_it_is_missing(
    command, ddt, tmp_path, caplog
):
    caplog.set_level(logging.INFO, "wend")
    ddt("--group", "all", "--keep-gib", 0, "--page", 3, "--boxes", 3)
    page = tmp_path / "out/train/pseudo_boxes.html"
    text = page.read_text()
    assert "Drawn by chance" in text
    assert "Lowest scores" in text
    assert text.count("data:image/jpeg") >= 9
    assert not re.search(r"(src|href)=.(?!data:|#)", text)  # it asks no other file
    cost = json.loads((tmp_path / "out/train/cost.json").read_text())
    assert cost["images"] == 12  # once, though they went through the network twice
    assert 0 < cost["network_s_per_image"] < cost["whole_s_per_image"]
    assert "cost: 12 images, " in caplog.text
    page.unlink()
    ddt("--group", "all", "--keep-gib", 0, "--page", 3, "--boxes", 3)
    assert "is there already" in caplog.text
    assert page.read_text() == text
    page.unlink()
    ddt("--group", "all", "--keep-gib", 0, "--page", "none", "--boxes", 3)
    assert not page.exists()
    command("--split", "shards", "--shard", "0/2")
    command("--split", "shards", "--shard", "1/2")
    merge(tmp_path, "--split", "shards", "--page", "2")
    assert "Boxes by border" in (tmp_path / "out/shards/pseudo_boxes.html").read_text()
    assert json.loads((tmp_path / "out/shards/cost.json").read_text())["images"] == 12


@pytest.mark.parametrize("given", ["0", "-3", "many", "501", "²"])
def test_a_wrong_number_of_pictures_is_refused(command, given):
    with pytest.raises(InputError, match=r"--page: expected none or 1 to 500 images, got "):
        command("--page", given)


def test_parts_of_other_settings_are_started_anew_and_of_other_images_not_merged(
    command, tmp_path, caplog, monkeypatch
):
    write_images(tmp_path / "mine", "one.png", "two.png")
    images = ("--images", str(tmp_path / "mine"))
    command("--shard", "0/2", images=images)
    with pytest.raises(InputError, match="is of a folder of images, mine; name it: --images DIR"):
        merge(tmp_path)
    write_images(tmp_path / "mine", "three.png")
    with pytest.raises(InputError, match=r"is of other images \(keys_sha256: of other content"):
        merge(tmp_path, *images)
    with pytest.raises(InputError, match=r"remove .*train.partial to start anew"):
        command("--side", 64, images=images)
    rmtree(tmp_path / "out/train.partial")
    monkeypatch.setattr("wend.localize.whole.write_boxes", None)
    with pytest.raises(TypeError):
        command(images=images)
    monkeypatch.undo()
    command("--side", 64, images=images)
    assert "starting anew" in caplog.text
    assert len(load_coco(tmp_path / "out/train/pseudo_boxes.json")) == 3
    assert not (tmp_path / "out/train.partial").exists()


def test_an_own_method_from_a_file_gets_descriptors_and_its_options(command, weights, tmp_path):
    """It marks the patch with the largest first channel, and `wide` columns from there.

    What it wrote is not taken for what the file makes when it says something else.
    """
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "def brightest(descriptors, shape, *, wide=1):\n"
        "    mask = np.zeros(shape, bool)\n"
        "    row, column = divmod(int(descriptors[:, 0].argmax()), shape[1])\n"
        "    mask[row, column : column + wide] = True\n"
        "    return [mask]\n"
    )
    given = ["--backbone", "torchvision:resnet18", "--weights", weights, "--input-size", 96]
    given += ["--layer", "layer2", "--batch-size", 5, "--device", "cpu", "--option", "wide=2"]
    command(*given, method=f"{tmp_path}/own.py:brightest")
    content = json.loads((tmp_path / "out/train/pseudo_boxes.json").read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    for annotation in content["annotations"]:
        width, height = sizes[annotation["image_id"]]
        x, _, w, h = annotation["bbox"]
        assert h * 12 / height == pytest.approx(1)  # 96 / 8 cells
        assert w * 12 / width == pytest.approx(2) or (x + w) * 12 / width == pytest.approx(12)
    assert content["info"]["settings"]["options"] == {"wide": 2}
    with (tmp_path / "own.py").open("a") as file:
        file.write("# changed\n")
    with pytest.raises(InputError, match=r"made with other settings \(code_sha256"):
        command(*given, method=f"{tmp_path}/own.py:brightest")


@pytest.mark.parametrize("method", ["token-cut", "mask-cut", "lost", "background"])
def test_each_method_ends_in_the_same_boxes_after_an_interruption(
    command, weights, tmp_path, monkeypatch, method
):
    given = ["--backbone", "torchvision:resnet18", "--weights", weights, "--input-size", 96]
    given += ["--layer", "layer2", "--batch-size", 5, "--device", "cpu", "--boxes", 3]
    command(*given, "--split", "whole", method=method)
    passed, calls = NetworkPass._passed, []

    def interrupted(network, *batch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return passed(network, *batch)

    monkeypatch.setattr(NetworkPass, "_passed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        command(*given, "--split", "parts", method=method)
    command(*given, "--split", "parts", method=method)
    assert len(calls) == 4  # of 3 batches the first was kept
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()


@pytest.fixture
def contrast(command, weights):
    def call(*more, method="contrast", **options):
        given = ["--backbone", "torchvision:resnet18", "--weights", weights, "--input-size", 96]
        given += ["--batch-size", 5, "--device", "cpu", "--layer", "layer2"]
        if method == "contrast":
            given += ["--option", "epochs=3"]
        return command(*given, *more, method=method, **options)

    return call


@pytest.mark.parametrize("keep", [0, 2])
def test_contrast_learns_the_same_head_after_an_interruption(
    contrast, tmp_path, monkeypatch, caplog, keep
):
    caplog.set_level(logging.INFO, "wend")
    contrast("--split", "whole", "--keep-gib", keep)
    losses = re.findall(r"epoch (\d) of 3, loss (\S+)", caplog.text)
    assert [epoch for epoch, _ in losses] == ["1", "2", "3"]
    epoch, calls = contrast_run._Training._epoch, []

    def interrupted(training, *given):
        calls.append(training.epoch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return epoch(training, *given)

    monkeypatch.setattr(contrast_run._Training, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        contrast("--split", "parts", "--keep-gib", keep)
    contrast("--split", "parts", "--keep-gib", keep)
    assert calls == [0, 1, 1, 2]
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        contrast("--split", "other", "--keep-gib", keep)
    contrast("--split", "other", "--keep-gib", keep, "--option", "seed=1")
    assert "head.pt: is of other settings; training anew" in caplog.text
    assert calls == [0, 1, 0, 1, 2]
    assert re.findall(r"epoch (\d) of 3, loss (\S+)", caplog.text)[3:6] == losses
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert not list((tmp_path / "out").glob("*.partial"))


def test_the_first_shard_trains_the_head_and_the_others_wait_for_it(contrast, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wend")
    contrast("--split", "whole")
    contrast("--split", "parts", "--shard", "1/2")
    assert "boxes need that of all shards" in caplog.text
    contrast("--split", "parts", "--shard", "0/2")
    contrast("--split", "parts", "--shard", "1/2")
    merge(tmp_path, "--split", "parts", "--page", "none")
    whole, parts = (tmp_path / "out" / name / "pseudo_boxes.json" for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    cost = json.loads((tmp_path / "out/parts/cost.json").read_text())
    assert cost["images"] == 12


def test_a_damaged_image_is_left_out_of_learning(contrast, tmp_path):
    write_images(tmp_path / "mine", *(f"{i}.png" for i in range(5)))
    bad = tmp_path / "mine/2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    contrast("--skip-unreadable", images=("--images", str(tmp_path / "mine")))
    content = json.loads((tmp_path / "out/train/pseudo_boxes.json").read_text())
    assert len({row["image_id"] for row in content["annotations"]}) == 4


def test_cam_takes_the_class_predicted_or_the_data_sets(command, tmp_path, caplog):
    from torchvision.models import resnet18

    torch.manual_seed(0)
    torch.save(resnet18(num_classes=6).state_dict(), tmp_path / "six.pth")
    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "three.pth")
    given = ["--backbone", "torchvision:resnet18", "--input-size", 96, "--device", "cpu"]
    six = [*given, "--weights", tmp_path / "six.pth"]
    command(*six, "--split", "own", "--cam-class", "label", method="cam")
    command(*six, "--split", "predicted", "--option", "threshold=0.5", method="cam")
    own, predicted = (
        json.loads((tmp_path / "out" / split / "pseudo_boxes.json").read_text())
        for split in ("own", "predicted")
    )
    assert own["info"]["settings"]["cam_class"] == "label"
    assert own["annotations"] != predicted["annotations"]
    three = [*given, "--weights", tmp_path / "three.pth", "--cam-class", "label"]
    with pytest.raises(InputError, match="the data set has 6 classes, the classifier 3"):
        command(*three, "--split", "three", method="cam")
    with pytest.raises(InputError, match=r"--option threshold: expected from 0 to below 1"):
        command(*six, "--option", "threshold=1", method="cam")
    with pytest.raises(InputError, match="leave out --layer"):
        command(*six, "--layer", "layer2", method="cam")


def test_auto_fuses_what_several_methods_find_and_runs_none_twice(
    command, weights, tmp_path, caplog, monkeypatch
):
    write_images(tmp_path / "mine", *(f"{i}.png" for i in range(5)))
    bad = tmp_path / "mine/2.png"
    bad.write_bytes(bad.read_bytes()[:60])
    given = ["--backbone", "torchvision:resnet18", "--weights", weights, "--input-size", 96]
    given += ["--device", "cpu", "--skip-unreadable", "--boxes", 2, "--images", tmp_path / "mine"]
    caplog.set_level(logging.INFO, "wend")
    command(*given, method="auto", images=())
    assert "agreement of the methods" in caplog.text
    made = tmp_path / "out/train"
    content = json.loads((made / "pseudo_boxes.json").read_text())
    names = ["ddt", "contrast", "border"]
    assert list(content["info"]["settings"]["methods"]) == names
    assert len({row["image_id"] for row in content["annotations"]}) == 4
    assert all(0 <= row["score"] <= 1 for row in content["annotations"])
    assert "Agreement" in (made / "pseudo_boxes.html").read_text()
    first = (made / "pseudo_boxes.json").read_bytes()
    rmtree(made)
    monkeypatch.setattr(NetworkPass, "_passed", None)  # what is there is not made again
    command(*given, method="auto", images=())
    assert (made / "pseudo_boxes.json").read_bytes() == first
    with pytest.raises(InputError, match=r"--method auto: leave out --sign; each method runs"):
        command(*given, "--shard", "0/2", "--sign", "psol", method="auto", images=())


@pytest.fixture
def auto(command, weights, monkeypatch):
    short = {"method": "contrast", "options": {"epochs": "3"}}
    monkeypatch.setitem(presets.PRESETS, "contrast", presets.Preset(short))

    def call(*more, **options):
        given = ["--backbone", "torchvision:resnet18", "--weights", weights, "--input-size", 64]
        given += ["--device", "cpu", "--batch-size", 5, "--boxes", 2, "--page", "none"]
        return command(*given, *more, method="auto", **options)

    return call


@pytest.fixture
def passes(monkeypatch):
    """The batches that go through the network."""
    passed, batches = NetworkPass._passed, []

    def counted(network, batch, *given):
        batches.append(batch)
        return passed(network, batch, *given)

    monkeypatch.setattr(NetworkPass, "_passed", counted)
    return batches


ALL = [tuple(range(5)), tuple(range(5, 10)), (10, 11)]


def boxes_of(tmp_path, split):
    """The bytes of the boxes of all methods, and fused."""
    folders = [tmp_path / "out" / split, *sorted((tmp_path / f"out/{split}.methods").iterdir())]
    return [(folder / "pseudo_boxes.json").read_bytes() for folder in folders]


def test_auto_passes_over_the_images_once_and_shards_give_the_same(auto, tmp_path, passes, caplog):
    caplog.set_level(logging.INFO, "wend")
    auto("--split", "whole")
    assert passes == ALL  # DDT's two looks and contrast's epochs are of memory
    cost = json.loads((tmp_path / "out/whole/cost.json").read_text())
    ddt_cost = json.loads((tmp_path / "out/whole.methods/ddt/cost.json").read_text())
    assert cost["images"] == 12
    assert cost["network_s_per_image"] == pytest.approx(ddt_cost["network_s_per_image"])
    whole = boxes_of(tmp_path, "whole")

    auto("--split", "parts", "--shard", "1/2")
    assert "boxes need that of all shards (contrast: others have not ended" in caplog.text
    with pytest.raises(InputError, match=r"methods/contrast.partial: holds no part"):
        merge(tmp_path, "--split", "parts", "--page", "none")
    auto("--split", "parts", "--shard", "0/2")
    with pytest.raises(InputError, match=r"parts.methods/contrast.partial: .* are not done"):
        merge(tmp_path, "--split", "parts", "--page", "none")
    assert (tmp_path / "out/parts.methods/ddt.partial").is_dir()  # all methods or none
    auto("--split", "parts", "--shard", "1/2")
    assert f"make the whole: wend boxes merge {tmp_path}/out --split parts" in caplog.text
    merge(tmp_path, "--split", "parts", "--page", "none")
    assert boxes_of(tmp_path, "parts") == whole
    rmtree(tmp_path / "out/parts")  # the methods are whole, and what fuses them was interrupted
    with pytest.raises(InputError, match=r"parts.methods: is of other images \(.*keys_sha256"):
        merge(tmp_path, "--split", "parts", "--page", "none", "--dataset", "toy_train")

    auto("--split", "rest", "--shard", "0/3")
    auto("--split", "rest")  # without --shard: does the rest and fuses
    assert boxes_of(tmp_path, "rest") == whole


def test_auto_goes_on_where_it_was_killed_and_memory_changes_no_bit(
    auto, tmp_path, passes, monkeypatch
):
    auto("--split", "whole")
    whole = boxes_of(tmp_path, "whole")
    passes.clear()
    epoch, epochs = contrast_run._Training._epoch, []

    def interrupted(training, *given):
        epochs.append(training.epoch)
        if len(epochs) == 2:
            raise KeyboardInterrupt
        return epoch(training, *given)

    monkeypatch.setattr(contrast_run._Training, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        auto("--split", "parts")
    auto("--split", "parts")
    assert epochs == [0, 1, 1, 2]  # DDT is there, and so is the first epoch
    assert passes == [*ALL, *ALL]
    assert boxes_of(tmp_path, "parts") == whole
    passes.clear()
    auto("--split", "none", "--keep-gib", 0)
    looks = 2 + 3 + 2  # of DDT, contrast's epochs, its threshold and boxes
    assert len(passes) == 3 * looks
    assert boxes_of(tmp_path, "none") == whole


def test_contrast_shuffles_the_images_of_some_batches_at_a_time(contrast, tmp_path, monkeypatch):
    monkeypatch.setattr(contrast_run, "POOL_BATCHES", 2)
    for keep in (0, 2):
        contrast("--split", f"keep{keep}", "--keep-gib", keep)
    none, all_ = (tmp_path / f"out/keep{keep}/pseudo_boxes.json" for keep in (0, 2))
    assert none.read_bytes() == all_.read_bytes()
    batches = [range(i, i + 4) for i in range(0, 28, 4)]
    pools = contrast_run.pools_of(batches, seed=3)
    drawn = [batch for pool in pools for batch in pool]
    assert sorted(drawn, key=tuple) == batches
    assert [len(pool) for pool in pools] == [2, 2, 2, 1]
    assert contrast_run.pools_of(batches, seed=4) != pools
    assert contrast_run.whole_batches([7, 8, 9, 5, 6], 2) == [[7, 8], [9, 5]]
    assert contrast_run.whole_batches([7], 2) == [[7]]
