"""``wend evaluate --score-maps``: from a folder of maps to numbers and files."""

import csv
import json

import cv2
import numpy as np
import pytest

from tests.map_peers import pixel_truth, pxap
from wend import cli
from wend.classes.predictions import write_class_predictions
from wend.evaluation.score_maps import SIDE

SIZES = {"val2/0/0.jpeg": (400, 200), "val2/1/0.jpeg": (300, 300), "val2/1/1.jpeg": (224, 448)}
# of each image a true box, and the rows and columns of 224 that its map is 1 in, 0.5 around them
BOXES = {
    "val2/0/0.jpeg": ((100, 50, 299, 149), (56, 168, 56, 168)),  # right: the true box itself
    "val2/1/0.jpeg": ((0, 0, 149, 149), (112, 224, 112, 224)),  # wrong: the opposite corner
    "val2/1/1.jpeg": ((112, 0, 224, 448), (0, 224, 112, 224)),  # right
}


def write_lists(folder):
    folder.mkdir(parents=True)
    rows = {
        "image_ids": [[name] for name in SIZES],
        "class_labels": [[name, name.split("/")[1]] for name in SIZES],
        "image_sizes": [[name, *size] for name, size in SIZES.items()],
        "localization": [[name, *box] for name, (box, _) in BOXES.items()],
    }
    for name, lines in rows.items():
        text = "".join(",".join(map(str, line)) + "\n" for line in lines)
        (folder / f"{name}.txt").write_text(text)


def write_maps(folder, ending=""):
    for name, (_, (y0, y1, x0, x1)) in BOXES.items():
        score_map = np.zeros((SIDE, SIDE), np.float32)
        score_map[max(y0 - 9, 0) : y1 + 9, max(x0 - 9, 0) : x1 + 9] = 0.5
        score_map[y0:y1, x0:x1] = 1
        path = folder / f"{name.removesuffix(ending)}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, score_map)


@pytest.fixture
def files(tmp_path):
    write_lists(tmp_path / "lists")
    write_maps(tmp_path / "maps")
    return tmp_path


def evaluate(files, *more, expect=0, truth="lists", maps="maps"):
    arguments = ["--ground-truth", files / truth, "--output", files / "out"]
    arguments += ["--score-maps", files / maps, *more]
    assert cli.main(["evaluate", *map(str, arguments)]) == expect
    return json.loads((files / "out/metrics.json").read_text()) if expect == 0 else None


def test_a_folder_of_maps_becomes_a_table_with_max_box_acc(files, capsys):
    numbers = evaluate(files)
    printed = capsys.readouterr().out
    assert list(numbers) == ["wsoleval-v1", "wsoleval-v2"]
    for name, accuracy in numbers.items():
        assert accuracy["map_max_box_acc"] == pytest.approx(200 / 3)
        assert accuracy["map_max_box_acc_any"] == pytest.approx(200 / 3)
        assert f"| {name} |" in printed
        assert accuracy["inputs"]["score_maps"]["name"] == "maps"
        assert accuracy["counts"]["boxes_scored"] == 3
    maps = numbers["wsoleval-v1"]["score_maps"]
    assert maps["threshold"] == 0  # 0.5 and 1 hit the same images: the first threshold counts
    assert maps["max_box_acc"]["wsoleval-v2"]["any"]["iou"]["0.7"]["accuracy"] == pytest.approx(
        200 / 3
    )
    assert maps["pxap"] is None
    assert "MaxBoxAcc (wsoleval-v1, largest contour): 66.67 (66.67 at 0 for IoU 0.5)" in printed
    assert "MaxBoxAccV2 (wsoleval-v2, any contour): 66.67" in printed
    assert "chosen on these very images" in printed
    assert "3 score maps, of which 0 are of another size" in printed
    assert (files / "out/map_curve.png").read_bytes().startswith(b"\x89PNG")
    with open(files / "out/map_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1000 * 2 * (1 + 3)
    assert rows[500] == {
        "protocol": "wsoleval-v1", "contour": "largest", "IoU threshold": "0.5",
        "map threshold": "0.5", "per cent right": "66.6667",
    }  # fmt: skip


def test_the_same_maps_without_the_images_ending_and_fewer_steps(files, capsys):
    write_maps(files / "bare", ".jpeg")
    numbers = [
        evaluate(files, "--map-interval", 0.1, "--map-contours", "largest", maps=maps)
        for maps in ("maps", "bare")
    ]
    assert numbers[0]["wsoleval-v1"].pop("inputs") != numbers[1]["wsoleval-v1"].pop("inputs")
    assert numbers[0]["wsoleval-v1"] == numbers[1]["wsoleval-v1"]
    assert "map_max_box_acc_any" not in numbers[0]["wsoleval-v1"]
    assert "MaxBoxAccV2" not in capsys.readouterr().out


def test_a_fixed_threshold_other_protocols_and_classes(files):
    names = [*SIZES]
    write_class_predictions(
        files / "c.json",
        {"/".join(n.split("/")[-2:]): [i, 5, 6, 7, 8] for i, n in enumerate(names)},
    )
    numbers = evaluate(
        files, "--map-threshold", 0.7, "--protocol", "original", "psol-crop224",
        "--class-predictions", files / "c.json", "--analysis", "--num-workers", 0,
    )  # fmt: skip
    original = numbers["original"]
    assert original["gt_known_loc"] == pytest.approx(200 / 3)
    assert original["top1_loc"] == pytest.approx(100 / 3)  # classes 0, 1, 1 against 0, 1, 2
    assert original["score_maps"]["chosen_by"] is None
    # at 0.7 the first map's box is the true box but for the "+1"
    assert 0.97 < original["mean_best_iou"] * 3 / 2 <= 1


@pytest.mark.parametrize("kind", ["coco", "csv", "parquet"])
def test_exported_boxes_are_those_that_were_scored(files, kind):
    """In the frame of the maps to the last whole number, whatever the protocol."""
    protocols = ("original", "wsoleval-v2")
    before = evaluate(files, "--export", kind, "--export-frame", "given", "--protocol", *protocols)
    exported = files / f"out/detections.{'json' if kind == 'coco' else kind}"
    arguments = ["--ground-truth", files / "lists", "--detections", exported]
    arguments += ["--box-frame", "squash224", "--output", files / "again", "--protocol", *protocols]
    assert cli.main(["evaluate", *map(str, arguments)]) == 0
    after = json.loads((files / "again/metrics.json").read_text())
    for protocol in protocols:
        for name in ("gt_known_loc", "mean_top_iou", "recall_at_k", "mean_boxes"):
            assert after[protocol][name] == before[protocol][name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--map-threshold", "1"], "--map-threshold must be in"),
        (["--map-threshold", "-0.1"], "--map-threshold must be in"),
        (["--map-interval", "0"], "interval must be in"),
        (["--num-workers", "-1"], "--num-workers: expected at least 0"),
        (["--masks", "nowhere"], "nowhere: there is no such folder"),
    ],
)
def test_wrong_options_are_named(files, capsys, arguments, message):
    evaluate(files, *arguments, expect=2)
    assert message in capsys.readouterr().err


def test_a_wrong_map_is_named(files, capsys):
    np.save(files / "maps/val2/1/0.jpeg.npy", np.full((SIDE, SIDE), 3.0))
    evaluate(files, expect=2)
    error = capsys.readouterr().err
    assert "maps/val2/1/0.jpeg.npy: expected a score map of values in 0..1, got 3..3" in error
    assert "Traceback" not in error
    (files / "maps/val2/1/0.jpeg.npy").unlink()
    evaluate(files, expect=2)
    assert "1 of 3 images have no map (val2/1/0.jpeg)" in capsys.readouterr().err


def test_exactly_one_of_maps_and_detections_is_scored(files, capsys):
    arguments = ["evaluate", "--ground-truth", str(files / "lists"), "--output", str(files / "out")]
    for more in ([], ["--score-maps", "a", "--detections", "b"]):
        with pytest.raises(SystemExit):
            cli.main([*arguments, *more])
    assert "not allowed with" in capsys.readouterr().err
    assert (
        cli.main(
            [*arguments, "--detections", "d.json", "--normalize-maps", "--map-interval", "0.1"]
        )
        == 2
    )
    assert "--map-interval, --normalize-maps: for --score-maps alone" in capsys.readouterr().err


# --- OpenImages30k: masks


MASKS = {"test/a/1.jpg": 2, "test/b/2.jpg": 1}  # numbers of objects


@pytest.fixture
def masks(tmp_path):
    """Lists, masks and maps of two images; their masks by name."""
    rng = np.random.default_rng(0)
    arrays, lines = {}, []
    for name, number in MASKS.items():
        stem = name.removesuffix(".jpg")
        for i in range(number):
            mask = np.zeros((60, 80), np.uint8)
            y, x = rng.integers(0, 30, 2)
            mask[y : y + 25, x : x + 30] = 255
            arrays[f"{stem}_m{i}.png"] = mask
            lines.append(f"{name},{stem}_m{i}.png,{stem}_ignore.png" if i == 0 else
                         f"{name},{stem}_m{i}.png,")  # fmt: skip
        arrays[f"{stem}_ignore.png"] = 255 * (rng.random((60, 80)) > 0.9).astype(np.uint8)
    for name, mask in arrays.items():
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / "masks" / name), mask)
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "image_ids.txt").write_text("".join(f"{name}\n" for name in MASKS))
    (lists / "class_labels.txt").write_text("".join(f"{n},{i}\n" for i, n in enumerate(MASKS)))
    (lists / "localization.txt").write_text("".join(f"{line}\n" for line in lines))
    for name in MASKS:
        path = tmp_path / "maps" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.random((SIDE, SIDE)) ** 2 + 0.0)
    return tmp_path, arrays


def test_masks_give_pxap_beside_the_boxes(masks, capsys):
    files, arrays = masks
    numbers = evaluate(files, "--masks", files / "masks", "--map-interval", 0.01)
    truths = [
        pixel_truth(
            [a for name, a in arrays.items() if name.startswith(f"{stem}_m")],
            arrays[f"{stem}_ignore.png"],
        )
        for stem in (name.removesuffix(".jpg") for name in MASKS)
    ]
    maps = [np.load(files / "maps" / f"{name}.npy") for name in MASKS]
    assert numbers["wsoleval-v1"]["pxap"] == pytest.approx(pxap(maps, truths, 0.01), abs=1e-9)
    assert numbers["wsoleval-v1"]["score_maps"]["pxap"] == numbers["wsoleval-v1"]["pxap"]
    printed = capsys.readouterr().out
    assert printed.count(" PxAP |") == 1  # once, not for each protocol
    assert "left out, the same by definition" in printed
    assert "PxAP under every protocol" in printed
    with open(files / "out/pixel_curve.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 102
    assert rows[-1]["recall"] == "1.000000"
    assert (files / "out/pixel_curve.png").is_file()


def test_lists_of_masks_need_their_folder(masks, capsys):
    files, _ = masks
    evaluate(files, expect=2)
    assert "holds masks, not boxes" in capsys.readouterr().err
    (files / "masks/test/b/2_m0.png").unlink()
    evaluate(files, "--masks", files / "masks", expect=2)
    assert "2_m0.png: there is no such" in capsys.readouterr().err
