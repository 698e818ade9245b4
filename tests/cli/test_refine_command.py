"""wend pseudo-boxes --refine: every method of a network, resumed, in shards; refused input."""

import argparse
import json
import logging
from hashlib import sha256
from shutil import rmtree

import numpy as np
import pytest
import torch
from PIL import Image

from wend.cli import boxes_merge
from wend.cli import pseudo_boxes as command
from wend.datasets.catalog import DataSets
from wend.errors import InputError
from wend.localize.backbones import build_backbone
from wend.localize.network_pass import NetworkPass
from wend.localize.refine.refinement import SIDE, Refinement
from wend.parts import Parts

OWN = """
def thinner(picture, log_odds, *, less=0.5):
    return log_odds - less + picture.mean() / 1e6

def nothing(picture, log_odds):
    return -abs(log_odds)
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A timm ResNet-10 with random weights, and a classifier, since its head is there."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "resnet10t.pth"
    torch.save(timm.create_model("resnet10t", num_classes=6).state_dict(), file)
    return file


@pytest.fixture
def run(toy_root, tmp_path, monkeypatch, weights):
    """Runs a method on the toy test set (12 images); returns its JSON's settings and rows.

    Rows have their image's size, too.
    """
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    (tmp_path / "own.py").write_text(OWN)

    def call(method, *more, output="out"):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        words = ["--method", method, "--dataset", "toy_test", "--output", tmp_path / output]
        words += ["--num-workers", 0, "--page", "none"]
        if method != "border":
            words += ["--backbone", "timm:resnet10t", "--weights", weights, "--device", "cpu"]
            words += ["--input-size", 96, "--batch-size", 5]
        command.run(parser.parse_args([*map(str, words), *map(str, more)]))
        file = tmp_path / output / "train/pseudo_boxes.json"
        if not file.exists():
            return None, []
        content = json.loads(file.read_text())
        sizes = {each["id"]: (each["width"], each["height"]) for each in content["images"]}
        rows = [row | {"size": sizes[row["image_id"]]} for row in content["annotations"]]
        return content["info"]["settings"], rows

    return call


METHODS = {  # the first always, the others with -m slow
    "token-cut": ("--boxes", 2),
    "ddt of a large group": ("--group", "all", "--keep-gib", 0),
    "contrast": ("--option", "epochs=2"),
    "ddt": ("--group", "all"),
    "mask-cut": ("--boxes", 3),
    "lost": (),
    "background": ("--boxes", 2),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (i > 0)) for i, name in enumerate(METHODS)],
)
def test_every_method_is_refined_and_ends_in_the_same_bytes_after_an_interruption(
    run, tmp_path, monkeypatch, name
):
    method, more = name.split()[0], METHODS[name]
    plain_settings, plain = run(method, *more, output="plain")
    more = (*more, "--refine", "bilateral", "--refine-option", "luma=24")
    settings, rows = run(method, *more)
    assert settings == plain_settings | {
        "refine": "bilateral",
        "refine_side": SIDE,
        "refine_options": {"smoothness": 256.0, "place": 16.0, "luma": 24.0, "chroma": 8.0},
    }
    assert [row["bbox"] for row in rows] != [row["bbox"] for row in plain]
    cells = np.array([row["bbox"] for row in rows]) / [2 * row["size"] for row in rows] * SIDE
    finer = [not row.get("unrefined") and not row.get("whole_image") for row in rows]
    np.testing.assert_allclose(cells[finer], np.round(cells[finer]), atol=1e-6)
    assert any(finer)
    whole = (tmp_path / "out/train/pseudo_boxes.json").read_bytes()
    rmtree(tmp_path / "out")
    add, calls = Parts.add, []

    def stop(parts, rows):
        calls.append(rows)
        if len(calls) == 2:
            raise KeyboardInterrupt
        add(parts, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "add", stop)
        with pytest.raises(KeyboardInterrupt):
            run(method, *more)
    run(method, *more)
    assert (tmp_path / "out/train/pseudo_boxes.json").read_bytes() == whole


def test_shards_of_a_refined_run_are_merged_to_the_bytes_of_one_process(run, tmp_path):
    options = ("--refine", f"{tmp_path / 'own.py'}:thinner", "--refine-option", "less=0.25")
    settings, _ = run("token-cut", *options)
    assert settings["refine_options"] == {"less": 0.25}
    assert settings["refine_code_sha256"] == sha256(OWN.encode()).hexdigest()
    whole = (tmp_path / "out/train/pseudo_boxes.json").read_bytes()
    rmtree(tmp_path / "out")
    for shard in ("0/2", "1/2"):
        run("token-cut", *options, "--shard", shard)
    parser = argparse.ArgumentParser()
    boxes_merge.add_arguments(parser)
    boxes_merge.run(parser.parse_args([str(tmp_path / "out"), "--page", "none"]))
    assert (tmp_path / "out/train/pseudo_boxes.json").read_bytes() == whole


def test_what_a_refinement_would_empty_stays_and_is_counted(run, tmp_path, caplog):
    caplog.set_level(logging.INFO, "wend")
    _, plain = run("token-cut", output="plain")
    _, rows = run("token-cut", "--refine", f"{tmp_path / 'own.py'}:nothing")
    assert rows == [row | {"unrefined": True} for row in plain]
    assert "own.py:nothing: 0 boxes are of refined regions; 12 are not" in caplog.text


@pytest.mark.slow
def test_auto_refines_the_methods_of_a_network(run):
    settings, _ = run("auto", "--refine", "bilateral")
    refined = {name: own.get("refine") for name, own in settings["methods"].items()}
    assert refined == {"ddt": "bilateral", "contrast": "bilateral", "border": None}


def test_none_is_no_refinement(run):
    assert "refine" not in run("border", "--refine", "none")[0]


@pytest.mark.parametrize(
    ("method", "more", "message"),
    [
        ("border", ("--refine", "crf"), "--method border: leave out --refine, .* of a network"),
        ("lost", ("--refine", "crff"), "unknown map refinement 'crff'.*Did you mean.*crf"),
        ("lost", ("--refine-option", "near=3"), "--refine-option: is of a refinement; name it"),
        ("lost", ("--refine", "crf", "--refine-option", "near"), "--refine-option: expected NAME"),
        ("auto", ("--refine", "crf", "--refine-option", "nar=3"), "refine crf has no such .*near"),
        ("lost", ("--refine", "no.py:mine"), "map refinement 'no.py:mine'.*no.py"),
    ],
    ids=["border", "unknown", "no refinement", "no value", "option", "file"],
)
def test_what_does_not_go_together_is_refused(run, method, more, message):
    with pytest.raises(InputError, match=message):
        run(method, *more)


def test_maps_are_refined_by_their_own_images_picture(toy_root, monkeypatch, weights, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    data_set = DataSets().get("toy_test").take(np.arange(4))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    data_set.file_names[1] = str(broken)
    seen = []

    def note(picture, log_odds):
        seen.append(picture)
        return log_odds

    network = NetworkPass(
        build_backbone("timm:resnet10t", str(weights), None, 64),
        *(data_set, torch.device("cpu")),
        num_workers=1,
        skip_unreadable=True,
        refinement=Refinement("note", note),
    )
    (passed,) = network.batches([range(4)])
    for refine in passed.refine:
        refine(np.ones((1, 2, 2)))
    for picture, index in zip(seen, (0, 2, 3), strict=True):
        image = Image.open(data_set.file_names[index]).convert("RGB")
        expected = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
        np.testing.assert_array_equal(picture, expected)
