"""wend classify: the model's own top classes, reached again after an interruption."""

import argparse
import json
import logging

import numpy as np
import pytest
import torch
from classifier_models import TIMM, efficientnet
from PIL import Image

from wend.classes import classifiers
from wend.classes.classifiers import build_classifier, top_classes
from wend.classes.predictions import read_class_predictions, read_predictions_file
from wend.cli import classify
from wend.errors import InputError
from wend.files import sha256


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A random EfficientNet-B0 of six classes."""
    file = tmp_path_factory.mktemp("weights") / "b0.pth"
    torch.save(efficientnet().state_dict(), file)
    return file


@pytest.fixture
def command(toy_root, tmp_path, weights):
    """Runs ``wend classify`` on the toy test set (12 images, 6 classes), with changes."""

    def call(*more, model="efficientnet-b0", weights=weights, output=tmp_path / "out.json"):
        parser = argparse.ArgumentParser()
        classify.add_arguments(parser)
        arguments = ["--dataset", "toy_test", "--datasets-root", str(toy_root.parent)]
        arguments += ["--output", str(output), "--device", "cpu", "--num-workers", "0"]
        if model:
            arguments += ["--model", model, "--weights", str(weights)]
            arguments += ["--preprocessing", "canonical", "--crop-size", "64"]
        return classify.run(parser.parse_args([*arguments, *map(str, more)]))

    return call


def toy_records(toy_root, monkeypatch):
    from wend.datasets.catalog import DataSets

    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    return DataSets().get("toy_test")


def canonical_64():
    """torchvision's way to the canonical input with a crop of 64 pixels."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import v2 as T

    return T.Compose(
        [
            T.Resize(96, InterpolationMode.BICUBIC),
            T.CenterCrop(64),
            T.PILToTensor(),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )


def test_classes_and_scores_are_the_models_own(command, toy_root, tmp_path, weights, monkeypatch):
    assert command("--batch-size", 5) == 0
    file = read_predictions_file(tmp_path / "out.json")
    records = toy_records(toy_root, monkeypatch)
    assert list(file.predictions) == [r.key for r in records]
    model = efficientnet()
    model.load_state_dict(torch.load(weights))
    model.eval()
    transform = canonical_64()
    for record in records:
        image = transform(Image.open(record.file_name).convert("RGB"))
        with torch.no_grad():
            scores, classes = torch.topk(model(image[None]).softmax(1)[0], 5)
        assert file.predictions[record.key] == classes.tolist()
        assert file.scores[record.key] == pytest.approx(scores.tolist(), rel=1e-4)


def test_the_file_says_how_it_was_made_and_the_evaluator_reads_it(
    command, toy_root, tmp_path, weights, monkeypatch
):
    names = tmp_path / "names.txt"
    records = toy_records(toy_root, monkeypatch)
    folders = {r.class_id: r.key.split("/")[0] for r in records}
    names.write_text("".join(f"{folders.get(i, 'unseen')}\n" for i in range(6)))
    command("--class-names", names)
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["format"] == "wend-class-predictions-1"
    assert content["model"] == "efficientnet-b0"
    assert content["weights_sha256"] == sha256(weights)
    assert content["preprocessing"]["crop"] == 64
    assert content["num_classes"] == 6
    assert content["ten_crop"] is False
    assert {"wend", "torch", "pillow", "efficientnet_pytorch"} <= content["versions"].keys()
    assert len(read_class_predictions(tmp_path / "out.json", records)) == 12
    assert not (tmp_path / "out.json.partial").exists()


def test_class_names_of_another_order_are_refused_before_anything_runs(command, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"n{i}\n" for i in range(6)))
    with pytest.raises(InputError, match="class names are not the data set's class folders"):
        command("--class-names", names)
    assert not list(tmp_path.glob("out.json*"))


def test_ten_crop_and_reading_processes_reach_the_same_model(
    command, toy_root, tmp_path, weights, monkeypatch
):
    command("--ten-crop", "--num-workers", 1)
    file = read_predictions_file(tmp_path / "out.json")
    built = build_classifier("efficientnet-b0", weights, "canonical", crop=64)
    for record in toy_records(toy_root, monkeypatch)[:4]:
        crops = built.preprocessing(Image.open(record.file_name).convert("RGB"), ten_crop=True)
        with torch.no_grad():
            mean = built.model(crops).softmax(1).mean(0)
        assert file.predictions[record.key] == mean.topk(5).indices.tolist()
    assert file.settings["ten_crop"] is True


def test_scores_that_are_not_finite_are_an_error(command, tmp_path):
    state = efficientnet().state_dict()
    state["_fc.bias"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(InputError, match="are not finite numbers; are the weights whole"):
        command(weights=tmp_path / "nan.pth")


class Counter:
    """Counts the images that the model sees; stops at one of its calls."""

    def __init__(self, monkeypatch, stop_at=None):
        self.images, self.calls = 0, 0

        def counted(model, images, top_k):
            self.calls += 1
            if self.calls == stop_at:
                raise KeyboardInterrupt
            self.images += len(images)
            return top_classes(model, images, top_k)

        monkeypatch.setattr(classifiers, "top_classes", counted)


def test_an_interrupted_run_leaves_no_output_and_goes_on_where_it_stopped(
    command, tmp_path, monkeypatch
):
    command("--batch-size", 5, output=tmp_path / "whole.json")
    Counter(monkeypatch, stop_at=3)
    with pytest.raises(KeyboardInterrupt):
        command("--batch-size", 5)
    partial = tmp_path / "out.json.partial"
    assert not (tmp_path / "out.json").exists()
    (part,) = partial.iterdir()
    part.write_bytes(part.read_bytes()[:-7])
    Counter(monkeypatch, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        command("--batch-size", 5)
    counter = Counter(monkeypatch)
    command("--batch-size", 5)
    assert counter.images == 2  # of 12, two batches of five were done, one of them twice
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not partial.exists()


def test_shards_are_merged_to_the_bytes_of_one_process(command, tmp_path, monkeypatch, caplog):
    command("--batch-size", 5, output=tmp_path / "whole.json")
    caplog.set_level(logging.INFO, "wend")
    command("--batch-size", 5, "--shard", "1/2")
    assert "shard 1/2: done; of 12 images 5 are (not finished: shard 0/2)" in caplog.text
    merge = {"model": None, "output": tmp_path / "out.json"}
    with pytest.raises(InputError, match=r"7 of 12 images are not done .*; not finished: shard 0"):
        command("--merge", **merge)
    for change in (("--top-k", 6), ("--batch-size", 4)):
        with pytest.raises(
            InputError, match=r"settings have changed \(.*remove .*out.json.partial"
        ):
            command("--batch-size", 5, "--shard", "0/2", *change)
    command("--batch-size", 5, "--shard", "0/2")
    command("--merge", **merge)
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not (tmp_path / "out.json.partial").exists()


def test_a_record_of_an_earlier_version_is_started_anew(command, tmp_path, caplog):
    (tmp_path / "out.json.partial").write_text('{"format": "wend-class-predictions-partial-1"}\n')
    command()
    assert "out.json.partial: is of another version; starting anew" in caplog.text
    assert not (tmp_path / "out.json.partial").exists()


def test_a_changed_setting_starts_again_and_says_which(command, tmp_path, monkeypatch, caplog):
    Counter(monkeypatch, stop_at=2)
    with pytest.raises(KeyboardInterrupt):
        command("--batch-size", 5)
    counter = Counter(monkeypatch)
    with caplog.at_level(logging.WARNING):
        command("--batch-size", 5, "--top-k", 6)
    assert counter.images == 12
    assert "settings have changed (top_k: 5, now 6); starting anew" in caplog.text
    assert len(read_predictions_file(tmp_path / "out.json").predictions) == 12
    assert not (tmp_path / "out.json.partial").exists()


def test_a_finished_output_is_kept_and_never_overwritten(command, tmp_path, monkeypatch):
    command()
    before = (tmp_path / "out.json").read_bytes()
    counter = Counter(monkeypatch)
    assert command() == 0
    assert counter.images == 0
    with pytest.raises(InputError, match=r"made with other settings .*ten_crop: False, now True"):
        command("--ten-crop")
    assert (tmp_path / "out.json").read_bytes() == before


def test_timm_model_with_its_own_preprocessing(command, toy_root, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm", reason=TIMM)
    torch.manual_seed(1)
    model = timm.create_model("test_resnet", num_classes=6).eval()
    torch.save({"model": model.state_dict()}, tmp_path / "timm.pth")
    arguments = {"model": None}
    command(
        "--model", "timm:test_resnet", "--weights", tmp_path / "timm.pth",
        "--preprocessing", "canonical", **arguments,
    )  # fmt: skip
    file = read_predictions_file(tmp_path / "out.json")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    for record in toy_records(toy_root, monkeypatch):
        image = transform(Image.open(record.file_name).convert("RGB"))
        with torch.no_grad():
            scores, classes = torch.topk(model(image[None]).softmax(1)[0], 5)
        assert file.predictions[record.key] == classes.tolist()
        assert file.scores[record.key] == pytest.approx(scores.tolist(), rel=1e-4)
    assert "timm" in file.settings["versions"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--top-k", "4"], "--top-k: expected at least 5, got 4"),
        (["--top-k", "7"], "knows 6 classes, fewer than 7"),
        (["--batch-size", "0"], "--batch-size: expected at least 1"),
        (["--device", "cuda:99"], "--device cuda:99: cannot be used here"),
        (["--import", "x.json"], "--import runs no model; leave out --model"),
        (["--merge"], "--merge runs no model; leave out --model"),
        (["--shard", "2/2"], "shards count from 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_arguments_end_in_a_message(command, tmp_path, more, message):
    with pytest.raises(InputError, match=message):
        command(*more)
    assert not list(tmp_path.glob("out.json*"))


def test_model_and_weights_are_needed(command):
    with pytest.raises(InputError, match="--model, --weights, --preprocessing: needed"):
        command(model=None)


def test_a_classifier_of_too_few_classes_is_refused_before_it_runs(command, tmp_path):
    torch.save(efficientnet(num_classes=5).state_dict(), tmp_path / "five.pth")
    with pytest.raises(InputError, match="knows 5 classes, but the data set's go up to number 5"):
        command(weights=tmp_path / "five.pth")


def test_an_unreadable_image_is_named_and_what_was_done_is_kept(command, tmp_path, monkeypatch):
    def fail_on_seventh(path, *how, seen=[]):  # noqa: B006
        seen.append(path)
        if len(seen) == 7:
            raise InputError(f"{path}: cannot be read as an image")
        return Image.open(path).convert("RGB")

    monkeypatch.setattr(classifiers, "read_image", fail_on_seventh)
    with pytest.raises(InputError, match="cannot be read as an image"):
        command("--batch-size", 3)
    assert not (tmp_path / "out.json").exists()
    (part,) = (tmp_path / "out.json.partial").iterdir()
    assert len(part.read_text().splitlines()) == 1 + 6


def test_import_writes_the_same_format(command, toy_root, tmp_path, monkeypatch):
    records = toy_records(toy_root, monkeypatch)
    scores = np.random.default_rng(0).random((len(records), 6))
    source = tmp_path / "scores.json"
    source.write_text(
        json.dumps(
            {r.key: {"pred_scores": row.tolist()} for r, row in zip(records, scores, strict=True)}
        )
    )
    assert command("--import", source, model=None) == 0
    file = read_predictions_file(tmp_path / "out.json")
    for record, row in zip(records, scores, strict=True):
        assert file.predictions[record.key] == np.argsort(-row)[:5].tolist()
    assert file.num_classes == 6
    assert file.settings["imported_from"] == "scores.json"
    source.write_text(json.dumps({records[0].key: {"pred_scores": scores[0].tolist()}}))
    with pytest.raises(InputError, match="11 of 12 images have no class prediction"):
        command("--import", source, model=None, output=tmp_path / "other.json")
    assert not (tmp_path / "other.json").exists()
