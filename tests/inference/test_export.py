"""An exported file has the detector's boxes: run by another runtime, for any number of images."""

import json
import re
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
import yaml
from engine_runs import BUILDABLE, CROP, ENGINES, REPOSITORY, untrained
from PIL import Image

import wend
from wend.cli.parser import main
from wend.errors import InputError
from wend.inference.export import largest_difference
from wend.inference.file_formats import FORMATS
from wend.weight_files import Origin, stated_origin

LARGEST = 1e-4  # of the crop's side for boxes, and of scores
# Writing ONNX takes seconds, suppression in its graph twice as many
QUICK = {
    ("torchvision", "scr", "onnx", True),
    ("torchvision", "fcos", "torchscript", False),
}
CASES = [
    pytest.param(*case, marks=[] if case in QUICK else [pytest.mark.slow])
    for engine, name in BUILDABLE
    for file_format in FORMATS
    for nms in (False, True)
    for case in [(engine, name, file_format, nms)]
]
OLD_LAYOUT = "this torch writes archives of torch.export in another layout"
DAMAGED = {"empty": b"", "text": b"boxes", "an archive": b"PK\x05\x06" + bytes(18)}


@pytest.fixture(scope="module")
def checkpoint_of(tmp_path_factory):
    """Engine and detector -> the checkpoint of one that was not trained."""
    made = {}

    def make(engine, name):
        if (engine, name) not in made:
            cfg, model = untrained(engine, name, {"TEST.DETECTIONS_PER_IMAGE": "12"})
            if name in ("rcnn", "cln"):
                _spread_scores(model)
            path = tmp_path_factory.mktemp("run") / "model_final.pth"
            origin = stated_origin(Origin(cfg.dump(), engine, "apply"))
            torch.save({"model": model.state_dict(), **origin}, path)
            made[engine, name] = path
        return made[engine, name]

    return make


def _spread_scores(model):
    """Half of the untrained scores lie within 1e-6 of the next one, where the last bit of another
    runtime's arithmetic decides which box comes first; a trained detector's lie far apart.
    """
    words = ("objectness_logits", "rpn.head.cls_logits", "cls_score", "iou")
    for name, parameter in model.named_parameters():
        if name.endswith("weight") and any(word in name for word in words):
            parameter.data *= 30


@pytest.fixture(scope="module")
def exported_file(checkpoint_of, tmp_path_factory):
    """Engine, detector, format and nms -> the file, alone in a folder."""
    made = {}

    def make(engine, name, file_format, nms=False):
        case = engine, name, file_format, nms
        if case not in made:
            if file_format == "onnx":
                pytest.importorskip("onnxruntime")
                pytest.importorskip("onnxscript")
            if file_format == "torch.export":
                pytest.importorskip("torch.export.pt2_archive", reason=OLD_LAYOUT)
            folder = tmp_path_factory.mktemp("exported") / "ein Verzeichnis"
            path = folder / f"für alle{FORMATS[file_format].ending}"
            checkpoint = checkpoint_of(engine, name)
            assert wend.export(checkpoint, file_format, path, nms=nms) == path
            assert [*folder.iterdir()] == [path]
            made[case] = path
        return made[case]

    return make


@pytest.fixture
def scripted(exported_file):
    """A detector of torchvision's as TorchScript, which is written soonest."""
    return exported_file("torchvision", "fcos", "torchscript")


def photos(count=5):
    """Smooth images of several sizes."""
    generator = np.random.default_rng(3)
    return [
        Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(
            (80 + 9 * index, 60 + 17 * index)
        )
        for index in range(count)
    ]


def assert_same(one, other):
    """Detections of the same images agree to LARGEST."""
    assert len(one) == len(other)
    assert sum(map(len, one)) > len(one) / 2
    for a, b in zip(one, other, strict=True):
        assert a.size == b.size
        assert len(a) == len(b)
        sides = np.tile(np.array(a.size), 2)
        np.testing.assert_allclose(a.xyxy / sides, b.xyxy / sides, rtol=0, atol=LARGEST)
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=LARGEST)


@pytest.mark.parametrize(("engine", "name", "file_format", "nms"), CASES, indirect=["engine"])
def test_a_file_has_the_detectors_boxes(
    engine, name, file_format, nms, checkpoint_of, exported_file
):
    exported = wend.load(exported_file(engine, name, file_format, nms))
    original = wend.load(checkpoint_of(engine, name))
    assert exported.exif == "apply"
    assert exported.cfg.WEND.LOSS == yaml.safe_load(original.checkpoint.config)["WEND"]["LOSS"]
    images = photos(7)
    expected = list(original(images))
    for batch_size in (1, 3, 7):
        assert_same(list(exported(images, batch_size=batch_size)), expected)
    boxes, scores = largest_difference(original, exported, images)
    case = f"{engine} {name} {file_format} {'in the file' if nms else 'after it'}"
    sys.stdout.write(f"\n{case}: boxes {boxes:.0e} pixels, scores {scores:.0e}\n")  # see it with -s


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"WEND.VIEW": "squash"}, id="squash", marks=pytest.mark.slow),
        pytest.param({"WEND.VIEW": "pad", "WEND.CLOSER_LOOK": "1.5"}, id="pad and look closer"),
    ],
)
def test_photos_become_crops_as_for_the_detector(changes, tmp_path):
    cfg, model = untrained("torchvision", "fcos", changes)
    checkpoint = tmp_path / "model_final.pth"
    origin = stated_origin(Origin(cfg.dump(), "torchvision", "ignore"))
    torch.save({"model": model.state_dict(), **origin}, checkpoint)
    path = wend.export(checkpoint, "torchscript")
    assert path == tmp_path / "model_final.torchscript"
    assert_same(list(wend.load(path)(photos())), list(wend.load(checkpoint)(photos())))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
@pytest.mark.parametrize("file_format", FORMATS)
def test_regions_of_several_levels(engine, file_format, tmp_path):
    levels = "('stage2', 'stage3')"
    changes = {"MODEL.RPN.IN_FEATURES": levels, "MODEL.ROI_HEADS.IN_FEATURES": levels}
    cfg, model = untrained(engine, "rcnn", changes)
    checkpoint = tmp_path / "model_final.pth"
    origin = stated_origin(Origin(cfg.dump(), engine, "ignore"))
    torch.save({"model": model.state_dict(), **origin}, checkpoint)
    path = wend.export(checkpoint, file_format, nms=True)
    assert_same(list(wend.load(path)(photos())), list(wend.load(checkpoint)(photos())))


def test_predicting_with_a_file_from_the_command_line(scripted, tmp_path):
    path = tmp_path / "model.torchscript"
    photos(1)[0].save(tmp_path / "a.png")
    output = tmp_path / "predictions"
    arguments = ["predict", str(path), str(tmp_path / "a.png"), "--output", str(output)]
    shutil.copy(scripted, path)
    assert main([*arguments, "--pictures", "none"]) == 0
    settings = json.loads((output / "predict.json").read_text())["settings"]
    assert settings["weights"] == str(path)


def test_boxes_of_an_earlier_export_do_not_stay(scripted, checkpoint_of, tmp_path, capsys):
    """After an interrupted run of ``wend predict`` the file is written again, of other weights."""
    path, output = tmp_path / "model.torchscript", tmp_path / "predictions"
    (tmp_path / "photos").mkdir()
    photos(1)[0].save(tmp_path / "photos/a.png")
    (tmp_path / "photos/b.png").write_bytes(b"none")
    arguments = ["predict", str(path), str(tmp_path / "photos"), "--output", str(output)]
    arguments += ["--pictures", "none", "--batch-size", "1"]
    shutil.copy(scripted, path)
    before = wend.load(path)(tmp_path / "photos/a.png")
    assert main(arguments) == 2
    assert (output / ".unfinished/boxes.jsonl").read_text().count("xyxy") == 1

    checkpoint = tmp_path / "model.pth"
    saved = torch.load(checkpoint_of("torchvision", "fcos"), weights_only=True)
    (bias,) = (name for name in saved["model"] if name.endswith("bbox_reg.bias"))
    saved["model"][bias] += 1
    torch.save(saved, checkpoint)
    capsys.readouterr()
    again = ["export", str(checkpoint), "--format", "torchscript", "--overwrite"]
    assert main(again) == 0
    assert main([*arguments, "--on-bad", "skip"]) == 0
    after = wend.load(path)(tmp_path / "photos/a.png")
    assert not np.array_equal(after.xyxy, before.xyxy)
    (record,) = (output / "coco").glob("annotations.json")
    corners = [row["bbox"][:2] for row in json.loads(record.read_text())["annotations"]]
    np.testing.assert_array_equal(corners, after.xyxy[:, :2])


def test_exporting_changes_no_detector(checkpoint_of, tmp_path):
    detector = wend.load(checkpoint_of("torchvision", "fcos"))
    before = {name: tensor.clone() for name, tensor in detector.model.model.state_dict().items()}
    expected = list(detector(photos()))
    from wend.inference.export import candidate_detector

    candidates = candidate_detector(detector)
    assert not {id(p) for p in candidates.parameters()} & {
        id(p) for p in detector.model.model.parameters()
    }
    assert not detector.model.model.training
    for name, tensor in detector.model.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for one, other in zip(detector(photos()), expected, strict=True):
        assert np.array_equal(one.xyxy, other.xyxy)


def test_the_detectors_interface(scripted):
    detector = wend.load(scripted)
    assert f"BinaryFCOS of {scripted}" in repr(detector)
    few = detector(photos(1)[0], max_boxes=2, min_score=0.01)
    assert len(few) == 2
    assert few.xyxy.dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "torchscript"], "is there already; --overwrite replaces it"),
        (["--format", "torchscript", "--output", "x.onnx"], "ends in .torchscript"),
        (["--format", "tensorrt"], "invalid choice: 'tensorrt'"),
        ([], "--format"),
    ],
    ids=["output there", "ending", "format", "no format"],
)
def test_arguments_that_are_wrong(arguments, message, checkpoint_of, tmp_path, capsys):
    checkpoint = checkpoint_of("torchvision", "fcos")
    shutil.copy(checkpoint, tmp_path)
    (tmp_path / "model.torchscript").write_text("mine")
    try:
        status = main(["export", str(tmp_path), *arguments])
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "model.torchscript").read_text() == "mine"


def test_a_folder_without_a_checkpoint(tmp_path, capsys):
    assert main(["export", str(tmp_path), "--format", "torchscript"]) == 2
    assert "there is no checkpoint (model_*.pth)" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "no"), "--format", "torchscript"]) == 2
    assert "there is no such file or folder" in capsys.readouterr().err


def test_a_missing_package_is_named_with_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs .*onnxscript.*pip install 'wend-wsol\[onnx\]'"):
        wend.export(tmp_path, "onnx")


def test_an_exported_file_is_not_exported_again(scripted, tmp_path):
    with pytest.raises(InputError, match="is exported already"):
        wend.export(scripted, "torchscript", tmp_path / "a.torchscript")


@pytest.mark.parametrize(
    "changed",
    [{"engine": "torchvision"}, {"config": "a.yaml"}, {"TEST.DETECTIONS_PER_IMAGE": 3}],
    ids=["engine", "config", "entry"],
)
def test_what_was_decided_at_the_export_cannot_change(changed, scripted):
    with pytest.raises(InputError, match="was decided when the file was exported"):
        wend.load(scripted, **changed)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("file_format", FORMATS)
def test_a_file_that_is_none(file_format, content, tmp_path):
    if file_format == "onnx":
        pytest.importorskip("onnxruntime")
    path = tmp_path / f"model{FORMATS[file_format].ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read it|says nothing|not an archive"):
        wend.load(path)


@pytest.mark.parametrize(
    ("name", "file_format", "nms"),
    [
        ("fcos", "torchscript", False),
        ("scr", "onnx", True),
        pytest.param("scr", "torch.export", False, marks=pytest.mark.slow),
    ],
    ids=lambda value: str(value),
)
def test_a_file_that_was_cut_off(name, file_format, nms, exported_file, tmp_path):
    data = exported_file("torchvision", name, file_format, nms).read_bytes()
    path = tmp_path / f"model{FORMATS[file_format].ending}"
    for length in (1, *(int(share * len(data)) for share in (0.3, 0.7, 0.99)), len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="cannot read it"):
            wend.load(path)


def rewritten(source, target, change):
    """A copy of an archive whose parts a function of name and bytes may change or leave out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def test_a_file_of_another_kind_or_version(scripted, tmp_path):
    def newer(name, content):
        if not name.endswith("extra/wend"):
            return content
        return json.dumps({**json.loads(content), "version": 99, "more": 1}).encode()

    path = rewritten(scripted, tmp_path / "newer.torchscript", newer)
    with pytest.raises(InputError, match="its layout is 99"):
        wend.load(path)
    path = rewritten(
        scripted,
        tmp_path / "foreign.torchscript",
        lambda name, content: None if "extra/" in name else content,
    )
    with pytest.raises(InputError, match="says nothing about its detector"):
        wend.load(path)


def test_a_program_that_touches_files_is_refused(tmp_path):
    class Reads(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.from_file("secret", True, 10)

    path = tmp_path / "model.torchscript"
    torch.jit.save(torch.jit.script(Reads()), str(path))
    with pytest.raises(InputError, match="from_file"):
        wend.load(path)


class Harmless(torch.nn.Module):
    def forward(self, pixels):
        return pixels + 1, pixels.float()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    pytest.importorskip("torch.export.pt2_archive", reason=OLD_LAYOUT)
    path = tmp_path_factory.mktemp("archive") / "model.pt2"
    program = torch.export.export(Harmless(), (torch.zeros(2),))
    torch.export.save(program, path, extra_files={"wend": "{}"})
    return path


def in_graph(old, new):
    def change(name, content):
        return content.replace(old, new) if name.endswith("models/model.json") else content

    return change


ATTACKS = {
    "operator": (
        in_graph(b"torch.ops.aten.add.Tensor", b"torch.serialization.os.system"),
        "system",
    ),
    "file": (in_graph(b"torch.ops.aten.add.Tensor", b"torch.ops.aten.from_file.out"), "from_file"),
    "size": (in_graph(b'"as_int": 2', b'"as_expr": {"expr_str": "exec(bytes((1,2)))"}'), "exec"),
    "pickle": (
        lambda name, content: (
            b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'
            if name.endswith("weights_config.json")
            else content
        ),
        "pickled objects",
    ),
    "inputs": (
        lambda name, content: (
            b"cos\nsystem\n(S'true'\ntR." if name.endswith("sample_inputs/model.pt") else content
        ),
        "cannot read it",
    ),
}


@pytest.mark.parametrize(("change", "message"), ATTACKS.values(), ids=ATTACKS)
def test_an_archive_that_would_run_code_is_refused(change, message, archive, tmp_path):
    with pytest.raises(InputError, match=r"says nothing|not as `wend export` writes"):
        wend.load(archive)
    path = rewritten(archive, tmp_path / "model.pt2", change)
    assert path.read_bytes() != archive.read_bytes()
    with pytest.raises(InputError, match=message):
        wend.load(path)


def test_pixels_are_those_that_the_docs_say(scripted):
    """uint8, red green blue, (N, 3, side, side): run without anything of ours."""
    module = torch.jit.load(str(scripted))
    boxes, scores = module(torch.zeros(3, 3, CROP, CROP, dtype=torch.uint8))
    assert boxes.shape[:1] == scores.shape[:1] == (3,)
    assert boxes.shape[2:] == (4,)
    assert boxes.dtype == scores.dtype == torch.float32


def test_the_example_of_the_docs(checkpoint_of, exported_file, tmp_path, monkeypatch):
    shutil.copy(exported_file("torchvision", "scr", "onnx", True), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    photos(4)[3].save("photo.jpg")
    text = (REPOSITORY / "docs/export.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(import json\n.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(example, names)  # noqa: S102
    photo = Image.open("photo.jpg")
    expected = wend.load(checkpoint_of("torchvision", "scr"))(photo)
    assert len(expected)
    np.testing.assert_allclose(
        names["boxes"], expected.xyxy, rtol=0, atol=LARGEST * max(photo.size)
    )
