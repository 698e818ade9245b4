"""docs/safety.md: no file runs code, reads or writes elsewhere, or fills the memory.

Each malicious file would leave a trace, were its code run; each command ends in one line that names
the file. Weight files through their loaders: tests/test_weight_files.py; images:
tests/images/test_opening.py; exported files: tests/inference/test_export.py.
"""

import ast
import io
import os
import pickle
import re
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from engine_runs import kept_logging, options
from PIL import Image

import wend
import wend.user_code
from wend.cli.parser import main
from wend.errors import InputError
from wend.inference.run import MANIFEST, UNFINISHED, Output
from wend.steps import Steps
from wend.weight_files import Origin, read_weights, stated_origin

REPOSITORY = Path(__file__).resolve().parents[1]
TRACE = "trace"


class Attack:
    """Unpickled, it makes a file in the current folder."""

    def __reduce__(self):
        return os.mkdir, (TRACE,)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder: malicious files, a photo, and a module that leaves a trace if run."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), (9, 9, 9)).save("photo.jpg")
    Path("evil.py").write_text(f"import os\n\nos.mkdir({TRACE!r})\n")
    pickled = pickle.dumps({"model": {"a": Attack()}})
    for name in ("pkl", "json", "csv", "parquet", "npy", "onnx", "torchscript", "pt2", "xml"):
        Path(f"evil.{name}").write_bytes(pickled)
    torch.save({"model": {"a": Attack()}}, "evil.pth")
    torch.save({"model": {"a": Attack()}}, "old.pth", _use_new_zipfile_serialization=False)
    tag = f"!!python/object/apply:os.mkdir [{TRACE}]\n"
    Path("tag.yaml").write_text(f"WEND: {{ETA: {tag.strip()}}}\n")
    Path("based.yaml").write_text("_BASE_: tag.yaml\n")
    Path("fetched.yaml").write_text("_BASE_: http://127.0.0.1:9/evil.yaml\n")
    Path("set.yaml").write_text(f"name: x\nformat: folder\nimages: {tag}")
    Path("lines.yaml").write_text(
        f"format: folder\nimages: .\npseudo_boxes: {{source: 'os:system', path: '; mkdir {TRACE}'}}"
    )
    Path("own.yaml").write_text(
        "format: folder\nimages: .\npseudo_boxes: {source: './evil.py:read', path: photo.jpg}\n"
    )
    return tmp_path


def config_of_a_run(**entries) -> str:
    """The text of a run's config, with entries of the node WEND, and others by their node."""
    from wend.tv.config import read_config

    config = yaml.safe_load(read_config("demo", options()).dump())
    config["WEND"] |= entries.pop("WEND", {})
    config["MODEL"] |= entries.pop("MODEL", {})
    return yaml.safe_dump(config)


def refused(capsys, words, *named):
    """Run a command: it ends in a line that has ``named``, and leaves no trace."""
    with kept_logging():
        assert main(words) == 2
    said = capsys.readouterr().err
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, said
    assert "Traceback" not in said
    for text in named:
        assert text in errors[0]
    assert not Path(TRACE).exists()


TORCHVISION = ["--engine", "torchvision", "--config-file"]
PREDICT = ["photo.jpg", "--output", "out"]
COMMANDS = {
    "predict, zip": (["predict", "evil.pth", *PREDICT], "evil.pth"),
    "predict, legacy": (["predict", "old.pth", *PREDICT], "old.pth"),
    "predict, onnx": (["predict", "evil.onnx", *PREDICT], "evil.onnx"),
    "predict, torchscript": (["predict", "evil.torchscript", *PREDICT], "evil.torchscript"),
    "predict, config": (
        ["predict", "old.pth", *PREDICT, "--config-file", "tag.yaml", "--engine", "torchvision"],
        "tag.yaml",
    ),
    "export": (
        ["export", "evil.pth", "--format", "torchscript", "--output", "x.torchscript"],
        "evil.pth",
    ),
    "fine-tune": (["fine-tune", "evil.pth", "--train", "x", "--output", "out"], "evil.pth"),
    "config, tag": (["config", *TORCHVISION, "tag.yaml"], "tag.yaml"),
    "config, tag of a base": (["config", *TORCHVISION, "based.yaml"], "tag.yaml"),
    "config, base of a URL": (["config", *TORCHVISION, "fetched.yaml"], "fetched.yaml"),
    "declaration, tag": (["boxes", "report", "set.yaml"], "set.yaml"),
    "declaration, function": (["boxes", "report", "lines.yaml"], "lines.yaml"),
    "declaration, file": (["data", "import", "own.yaml", "--output", "stores"], "own.yaml"),
    "declaration, check": (["data", "check", "own.yaml"], "own.yaml"),
    "detections": (
        ["evaluate", "--ground-truth", "evil.json", "--detections", "evil.json", "--output", "o"],
        "evil.json",
    ),
    "boxes, csv": (["boxes", "report", "csv", "evil.csv", "--dataset", "set.yaml"], ""),
    "boxes, parquet": (["boxes", "report", "parquet", "evil.parquet", "--dataset", "."], ""),
}


@pytest.mark.parametrize(("words", "named"), COMMANDS.values(), ids=COMMANDS)
def test_no_command_runs_a_files_code(words, named, folder, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    refused(capsys, words, named)


@pytest.mark.slow
def test_no_training_runs_a_files_code(engine, folder, toy_root, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    for config in ("tag.yaml", "based.yaml", "fetched.yaml", "set.yaml"):
        refused(capsys, ["train", "--engine", engine, "--config-file", config], ".yaml")
    start = ["train", "--engine", engine, "--config-file", "demo"]
    own = options({"OUTPUT_DIR": "out", "WEND.EPOCHS": "1"})
    for number, weights in enumerate(("evil.pth", "old.pth", "evil.pkl", "evil.onnx")):
        for flag in ([], ["--eval-only"]):
            words = [*start, *flag, *own, "MODEL.WEIGHTS", weights]
            refused(capsys, [*words, "OUTPUT_DIR", f"out{number}{len(flag)}"], weights)
    if engine == "torchvision":
        words = [*start, *own, "MODEL.WEIGHTS", "http://127.0.0.1:9/evil.pkl"]
        refused(capsys, words, "evil.pkl is a URL")
    for source in ("lines.yaml", "own.yaml"):
        refused(capsys, [*start, *own, "DATASETS.TRAIN", f"('{source}',)"], source)
    Path("run").mkdir()
    shutil.copy("evil.pth", "run/model_final.pth")
    Path("run/last_checkpoint").write_text("../evil.pth")
    refused(capsys, [*start, "--resume", *own, "OUTPUT_DIR", "run"], "run/")


def test_the_attacks_work_where_they_are_not_refused(folder):
    """Else the tests above would prove nothing."""
    for attack in (
        lambda: pickle.loads(Path("evil.pkl").read_bytes()),  # noqa: S301
        lambda: torch.load("evil.pth", weights_only=False),
        lambda: torch.load("old.pth", weights_only=False),
        lambda: yaml.unsafe_load(Path("tag.yaml").read_text()),
        lambda: wend.user_code.load_module("./evil.py"),
    ):
        attack()
        os.rmdir(TRACE)


CODE = {
    "import": {"WEND": {"IMPORTS": ["evil.py"]}},
    "loss": {"WEND": {"LOSS": "evil.py:loss"}},
    "metric": {"WEND": {"METRICS": ["evil.py:metric"]}},
    "detector": {"MODEL": {"META_ARCHITECTURE": "evil.py:Net"}},
}


@pytest.mark.parametrize("entries", CODE.values(), ids=CODE)
@pytest.mark.parametrize("where", ["checkpoint", "run folder"])
def test_a_config_that_comes_with_weights_imports_nothing(entries, where, folder, capsys):
    """Not beside the weights, not in them, and not by way of a base."""
    absolute = {
        node: {
            key: [str(folder / each) for each in value]
            if isinstance(value, list)
            else str(folder / value)
            for key, value in values.items()
        }
        for node, values in entries.items()
    }
    text = config_of_a_run(**absolute)
    content = {"model": {"a": torch.zeros(1)}}
    os.mkdir("run")
    if where == "checkpoint":
        content |= stated_origin(Origin(text, "torchvision", "ignore"))
    Path("run/config.yaml").write_text(text)
    torch.save(content, "run/model_final.pth")
    refused(capsys, ["predict", "run", *PREDICT])
    refused(capsys, ["report", "run"], "evil.py", "--import evil.py")
    refused(
        capsys,
        ["fine-tune", "run/model_final.pth", "--train", "x", "--output", "out"],
        *([] if where == "checkpoint" else ["run"]),
    )
    Path("run/base.yaml").write_text(text)
    Path("run/config.yaml").write_text("_BASE_: base.yaml\n")
    torch.save({"model": {"a": torch.zeros(1)}}, "run/model_final.pth")
    refused(capsys, ["predict", "run", *PREDICT], "base.yaml: names the code", "evil.py")


def test_code_that_the_user_names_is_imported(folder):
    Path("run.yaml").write_text(config_of_a_run(WEND={"IMPORTS": [str(folder / "evil.py")]}))
    torch.save({"model": {"a": torch.zeros(1)}}, "w.pth")
    with pytest.raises(InputError, match="not a checkpoint of this detector"):
        wend.load("w.pth", config="run.yaml", engine="torchvision")
    assert Path(TRACE).is_dir()


@pytest.mark.parametrize("name", ["os", "subprocess", "pickle", "os.path"])
def test_pythons_own_modules_are_no_code_of_the_users(name):
    with pytest.raises(InputError, match=rf"^{name}: is a module of Python's own"):
        wend.user_code.load_module(name)


def test_what_an_earlier_prediction_is_said_to_have_written_stays_in_its_folder(tmp_path):
    (tmp_path / "kept.txt").touch()
    output = tmp_path / "out"
    output.mkdir()
    for name in ("..", ".", "", "../kept.txt", str(tmp_path / "kept.txt"), "a/../../kept.txt"):
        (output / MANIFEST).write_text(f'{{"written": ["{name}"]}}')
        with pytest.raises(InputError, match="is not what wend predict writes"):
            Output(output, overwrite=True)
    (output / MANIFEST).unlink()
    (output / UNFINISHED).symlink_to(tmp_path)
    with pytest.raises(InputError, match="is a link; remove it"):
        Output(output, overwrite=True)
    assert (tmp_path / "kept.txt").exists()


ALIASES = "\n".join(
    ["a0: &a0 {x: 1}"]
    + [f"a{n}: &a{n} {{{', '.join(f'x{i}: *a{n - 1}' for i in range(9))}}}" for n in range(1, 10)]
)


@pytest.mark.parametrize(
    "words",
    [["config", *TORCHVISION, "a.yaml"], ["report", "."], ["boxes", "report", "a.yaml"]],
    ids=["config", "run folder", "declaration"],
)
def test_ten_lines_of_yaml_do_not_state_a_billion_values(words, folder, capsys):
    for name in ("a.yaml", "config.yaml"):
        Path(name).write_text(ALIASES)
    refused(capsys, words, "its aliases (*name) state more than 100000 values")
    Path("a.yaml").write_text("a: &a [*a]")
    refused(capsys, ["config", *TORCHVISION, "a.yaml"], "an alias (*name) stands in the value")


def test_archives_and_pickles_that_state_more_bytes_than_they_have(tmp_path):
    torch.save({"model": {"a": torch.zeros(1 << 20)}}, tmp_path / "whole.pth")
    assert read_weights(tmp_path / "whole.pth")["a"].shape == (1 << 20,)
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for part in whole.infolist():
            packed.writestr(part.filename, whole.read(part))
    with pytest.raises(InputError, match=r"packed\.pth: .*its parts state 419\d{4} bytes, more"):
        read_weights(tmp_path / "packed.pth")
    huge = np.ndarray((1 << 40,), np.float32, np.zeros(1, np.float32), strides=(0,))
    with pytest.raises(
        InputError, match=r"makes an array by numpy\.ndarray, of no bytes of its own"
    ):
        write_and_read(tmp_path / "huge.pkl", huge)


def write_and_read(path, array):
    """Write a pickle that makes an array by its buffer and strides, and read it as weights."""

    class Rebuilt:
        def __reduce__(self):
            content = array[:1].tobytes()
            return np.ndarray, (array.shape, array.dtype, content, 0, array.strides)

    path.write_bytes(pickle.dumps({"a": Rebuilt()}))
    read_weights(path)


def test_a_pipe_in_place_of_a_text_file_is_told(tmp_path):
    from wend.files import read_text

    os.mkfifo(tmp_path / "a.txt")
    for path, kind in ((tmp_path / "a.txt", "a pipe"), ("/dev/zero", "a device")):
        with pytest.raises(InputError, match=f"is {kind}, and no file; expected a list"):
            read_text(path, "a list")


def test_pipes_in_place_of_detections_are_told(folder, capsys):
    Path("truth.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "annotations": '
        '[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}], '
        '"categories": [{"id": 1, "name": "x"}]}'
    )
    start = ["evaluate", "--ground-truth", "truth.json", "--output", "out", "--detections"]
    for ending in ("json", "csv", "parquet"):
        os.mkfifo(f"pipe.{ending}")
        refused(capsys, [*start, f"pipe.{ending}"], f"pipe.{ending}")


@pytest.mark.parametrize("text", ["[]", '{"format": "wend-auto-1"}', "{", '{"steps": {"a": 1}}'])
def test_a_record_of_steps_that_is_none_is_told(tmp_path, text):
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(InputError, match=r"steps\.json: "):
        Steps(tmp_path, {})


def test_an_onnx_file_whose_numbers_lie_elsewhere_is_refused(tmp_path):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    (tmp_path / "secret").write_bytes(bytes(16))
    values = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in ("pixels", "boxes")]
    weight = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    weight.external_data.add(key="location", value="../secret")
    node = onnx.helper.make_node("Add", ["pixels", "w"], ["boxes"])
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight])
    (tmp_path / "x").mkdir()
    path = tmp_path / "x/a.onnx"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match=r"a\.onnx: has its numbers in other files"):
        wend.load(path)


def test_of_two_parts_of_a_name_none_is_loaded(tmp_path):
    content = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), content)
    for name in ("code/__torch__/torch/nn/modules/activation.py", "CODE/a.py", "code/a.PY"):
        path = tmp_path / "a.torchscript"
        path.write_bytes(content.getvalue())
        with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the name is there
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/{name}", "ops.aten.from_file('x')")
        with pytest.raises(InputError, match=r"twice; not loaded|its program has from_file"):
            wend.load(path)


READS = re.compile(
    r"pickle|unsafe|hub|from_url|(torch|np|numpy|yaml)\.load\b|Image\.open|json\.loads"
)


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


# of no file: what the starting process handed to this one, as multiprocessing pickles it, too
TASK = "wend/launch/start.py: pickle.loads"


def test_every_reader_of_the_package_says_that_it_runs_no_code():
    """Explicitly: the defaults of torch and NumPy are those of some versions."""
    seen = set()
    for folder in ("wend", "projects", "tools"):
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            text = file.read_text("utf-8")
            for name, keywords in calls(ast.parse(text)) if READS.search(text) else ():
                where = f"{file.relative_to(REPOSITORY)}: {name}"
                seen.add(name)
                if where != TASK:
                    assert name not in ("pickle.load", "pickle.loads", "yaml.unsafe_load"), where
                assert not name.endswith(("load_state_dict_from_url", "hub.load")), where
                if name == "torch.load":
                    assert keywords.get("weights_only") == "True", where
                if name in ("np.load", "numpy.load"):
                    assert keywords.get("allow_pickle") == "False", where
                if name == "yaml.load":
                    assert keywords.get("Loader") == "loader", where  # a StrictLoader
                if name == "Image.open":
                    assert folder != "wend", where
    assert {"torch.load", "np.load", "yaml.load", "json.loads"} <= seen


def test_the_floor_of_torch_is_past_the_hole_of_weights_only():
    """CVE-2025-32434: before 2.6 weights_only did not keep code from running."""
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    floor = text[text.index('"torch>=') + 8 :].partition('"')[0]
    assert tuple(map(int, floor.split(".")[:2])) >= (2, 6)
    assert '"safetensors>=' in text
