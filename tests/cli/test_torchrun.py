"""wend pseudo-boxes and wend classify in processes of torchrun: the bytes of one process."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from classifier_models import efficientnet

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
DATA = ("--dataset", "toy_test", "--num-workers", "0")
BORDER = ("pseudo-boxes", "--method", "border", *DATA)
# larger than what is kept: sums by one step, boxes by the next
DDT = ("pseudo-boxes", "--method", "ddt", *DATA, "--group", "all", "--keep-gib", "0")
DDT = (*DDT, "--device", "cpu", "--backbone", "torchvision:resnet18", "--layer", "layer2")
DDT = (*DDT, "--input-size", "96", "--batch-size", "1")
CLASSIFY = ("classify", *DATA, "--device", "cpu", "--model", "efficientnet-b0", "--batch-size", "5")
CLASSIFY = (*CLASSIFY, "--preprocessing", "canonical", "--crop-size", "64")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random ones of a ResNet-18 and of a classifier of six classes."""
    from torchvision.models import resnet18

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), folder / "ddt.pth")
    torch.save(efficientnet().state_dict(), folder / "classify.pth")
    return folder


@pytest.fixture
def start(toy_root):
    """Start ``wend ...``; by torchrun where the number of processes is not 0."""

    def call(number, *words):
        launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node", number, "-m")
        command = [sys.executable, "-m", *(launcher if number else ()), "wend", *words]
        path = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        more["DETECTRON2_DATASETS"] = str(toy_root.parent)
        return subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return call


def _done(process):
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output[-3000:]
    return output


def _files(output):
    """The content of a file, or of all files below a folder by their paths there.

    Of those that say how long it took, only that they are there.
    """
    if output.is_file():
        return output.read_bytes()
    files = {p.relative_to(output): p for p in output.rglob("*") if p.is_file()}
    timed = ("cost.json", "pseudo_boxes.html")
    return {key: None if p.name in timed else p.read_bytes() for key, p in files.items()}


def test_boxes_by_three_processes_are_those_of_one(start, tmp_path):
    _done(start(0, *BORDER, "--output", tmp_path / "by one"))
    output = _done(start(3, *BORDER, "--output", tmp_path / "by several ß"))
    written = re.findall("written: .*", output)
    assert len(written) == len({*written}) >= 2  # once, not by each process
    assert _files(tmp_path / "by several ß") == _files(tmp_path / "by one")


@pytest.mark.parametrize("keep", [0, 2])
def test_auto_by_three_processes_is_that_of_one(start, weights, tmp_path, keep):
    words = ("pseudo-boxes", "--method", "auto", *DATA, "--device", "cpu", "--batch-size", "2")
    words += (
        "--backbone",
        "torchvision:resnet18",
        "--weights",
        weights / "ddt.pth",
        "--boxes",
        "2",
    )
    words += ("--input-size", "64", "--page", "none", "--keep-gib", keep)
    _done(start(0, *words, "--output", tmp_path / "one"))
    _done(start(3, *words, "--output", tmp_path / "several"))
    expected, several = _files(tmp_path / "one"), _files(tmp_path / "several")
    assert expected.keys() == several.keys()
    assert [p for p in expected if p.name != "cost.json" and expected[p] != several[p]] == []


def test_classes_by_more_processes_than_batches_are_those_of_one(start, weights, tmp_path):
    words = (*CLASSIFY, "--weights", weights / "classify.pth")  # 12 images in 3 batches
    _done(start(0, *words, "--output", tmp_path / "one.json"))
    output = _done(start(4, *words, "--output", tmp_path / "four.json"))
    assert output.count("written: ") == 1
    assert _files(tmp_path / "four.json") == _files(tmp_path / "one.json")


def _rank_1(agent):
    """The process id of the second process of an agent's."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    for child in children:
        if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(children)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ddt_of_one_group_goes_on_after_a_process_was_killed(start, weights, tmp_path):
    words = (*DDT, "--weights", weights / "ddt.pth")
    _done(start(0, *words, "--output", tmp_path / "one"))
    killed = start(2, *words, "--output", tmp_path / "killed")
    partial = tmp_path / "killed" / "train.partial"
    while killed.poll() is None and not list(partial.glob("part.*.jsonl")):
        time.sleep(0.02)
    os.kill(_rank_1(killed), signal.SIGKILL)
    killed.communicate(timeout=600)
    assert killed.returncode != 0
    assert not (tmp_path / "killed" / "train").exists()
    _done(start(3, *words, "--output", tmp_path / "killed"))
    assert _files(tmp_path / "killed") == _files(tmp_path / "one")
