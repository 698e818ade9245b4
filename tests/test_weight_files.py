"""wend.weight_files: each kind of file gives tensors, none runs code, misfits are said."""

import logging
import os
import pickle
import re
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.torch
import torch
from classifier_models import efficientnet
from engine_runs import _one_thread, _own_loggers, run  # noqa: F401
from torch import nn
from torchvision.models import resnet18

from wend.classes.classifiers import build_classifier
from wend.cli.parser import main
from wend.errors import InputError, MissingFileError
from wend.localize.backbones import build_backbone
from wend.tv.engine import TVCheckpointer
from wend.weight_files import (
    UnreadableError,
    compare_weights,
    load_weights,
    read_checkpoint,
    read_weights,
)

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(7)}


def assert_weights(weights, expected=WEIGHTS):
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert weights[name].dtype == value.dtype
        assert torch.equal(weights[name], value)


# ---- what is read ----


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"model": weights},
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {"state_dict": weights, "epoch": 3}},
        lambda weights: {"model": "resnet50", "state_dict": weights},  # a name, not the weights
        lambda weights: {"model_state": weights},
    ],
)
def test_weights_may_be_wrapped_and_from_data_parallel(tmp_path, wrap, prefix):
    content = wrap({prefix + name: value for name, value in WEIGHTS.items()})
    for ending in ("pth", "pt", "bin", "weights"):
        torch.save(content, tmp_path / f"file.{ending}")
        assert_weights(read_weights(tmp_path / f"file.{ending}"))


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "module.module.",
        "module._orig_mod.module.",
    ],
)
def test_names_lose_what_compiling_and_data_parallel_put_before_them(tmp_path, prefix):
    torch.save({prefix + name: value for name, value in WEIGHTS.items()}, tmp_path / "f.pth")
    assert_weights(read_weights(tmp_path / "f.pth"))


def test_a_compiled_part_of_a_model_has_its_plain_names(tmp_path):
    # of model.body = torch.compile(nn.Linear(2, 2)); compiling itself takes seconds
    state = nn.Sequential(nn.Linear(2, 2)).state_dict()
    names = {"0.weight": "body._orig_mod.weight", "0.bias": "body._orig_mod.bias"}
    torch.save({names[name]: value for name, value in state.items()}, tmp_path / "f.pth")
    assert [*read_weights(tmp_path / "f.pth")] == ["body.weight", "body.bias"]


@pytest.mark.parametrize(
    ("wrap", "taken"),
    [
        (lambda w: {"model_state_dict": w, "optimizer_state_dict": {"state": {}}}, None),
        (lambda w: {"model": {"backbone": "resnet"}, "state_dict": w}, None),  # a config
        (lambda w: {"module": w, "ds_version": "0.9"}, None),  # DeepSpeed's
        (lambda w: {"net": {"params": w}, "acc": 0.9, "epoch": 3}, None),
        (lambda w: {"ema": {"decay": 0.9, "shadow": w}}, None),
        (
            lambda w: {"state_dict_ema": {n: v + 1 for n, v in w.items()}, "state_dict": w},
            "state_dict",
        ),
        (lambda w: {"model": w, "ema": {"module": {n: v + 1 for n, v in w.items()}}}, "model"),
    ],
)
def test_weights_are_taken_from_where_others_keep_them_averages_last(tmp_path, caplog, wrap, taken):
    caplog.set_level(logging.INFO, "wend")
    torch.save(wrap(WEIGHTS), tmp_path / "f.ckpt")
    assert_weights(read_weights(tmp_path / "f.ckpt"))
    assert (f"the weights under {taken!r} are taken" in caplog.text) == (taken is not None)


def test_names_with_and_without_a_prefix_are_an_error(tmp_path):
    torch.save({**WEIGHTS, **{f"module.{n}": v for n, v in WEIGHTS.items()}}, tmp_path / "f.pth")
    with pytest.raises(
        InputError, match=r"f\.pth: holds \d weights twice, with and without 'module"
    ):
        read_weights(tmp_path / "f.pth")


def small_network():
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 4, 1),
            bn1=nn.BatchNorm2d(4),
            layer1=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
            fc=nn.Linear(4, 3),
        )
    )


WRAPPED = [  # Lightning's and others', around a whole network
    ("model.", {}),
    ("net.", {}),
    ("_orig_mod.model.", {}),
    ("model._orig_mod.", {}),
    ("module.model.backbone.", {}),
    ("model.", {"criterion.weight": torch.ones(3)}),
    ("model.", {"average": "ema_model."}),
    ("module.", {"n_averaged": torch.tensor(7)}),  # torch's AveragedModel
]


@pytest.mark.parametrize(("prefix", "beside"), WRAPPED)
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_a_network_is_loaded_from_any_wrapping(tmp_path, caplog, prefix, beside, key):
    caplog.set_level(logging.INFO, "wend")
    torch.manual_seed(0)
    source, model = small_network(), small_network()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    if "average" in beside:
        state |= {beside["average"] + n: v + 1 for n, v in source.state_dict().items()}
    else:
        state |= beside
    torch.save({key: state, "epoch": 3, "pytorch-lightning_version": "2"}, tmp_path / "f.ckpt")
    load_weights(tmp_path / "f.ckpt", read_weights(tmp_path / "f.ckpt"), "small", model)
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert "loaded into small" in caplog.text
    if "criterion.weight" in beside:
        assert "passed over 1 weights beside them (criterion.weight)" in caplog.text


def test_another_network_is_refused_with_the_number_that_fits(tmp_path):
    with pytest.raises(InputError, match=r"resnet18: 0 of its 102 weights fit; 102 missing"):
        load_weights("f.pth", WEIGHTS, "resnet18", resnet18(num_classes=3))


def test_safetensors_are_read(tmp_path):
    safetensors.torch.save_file(WEIGHTS, tmp_path / "file.safetensors")
    assert_weights(read_weights(tmp_path / "file.safetensors"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_are_read_as_detectron2s_files_hold_them(tmp_path, protocol):
    arrays = {name: value.numpy() for name, value in WEIGHTS.items()}
    arrays["fortran"] = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    content = {"model": arrays, "__author__": "me", "matching_heuristics": True, "n": np.int64(3)}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content, protocol))
    checkpoint = read_checkpoint(tmp_path / "file.pkl")
    assert_weights(
        checkpoint.pop("model"), {**WEIGHTS, "fortran": torch.arange(6.0).double().view(2, 3)}
    )
    assert checkpoint == {"__author__": "me", "matching_heuristics": True, "n": 3}


def test_arrays_that_numpy_1_pickled_are_read(tmp_path):
    content = pickle.dumps({"a": np.arange(3.0)}, 2)
    assert b"numpy._core" in content or np.__version__.startswith("1.")
    (tmp_path / "f.pkl").write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    assert_weights(read_weights(tmp_path / "f.pkl"), {"a": torch.arange(3.0).double()})


def test_what_stands_beside_the_weights_is_kept(tmp_path):
    torch.save({"model": WEIGHTS, "iteration": 7, "optimizer": {"lr": 1}}, tmp_path / "f.pth")
    checkpoint = read_checkpoint(tmp_path / "f.pth")
    assert_weights(checkpoint.pop("model"))
    assert checkpoint == {"iteration": 7, "optimizer": {"lr": 1}}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (torch.zeros(3), "Tensor"),
        ([torch.zeros(3)], "list"),
        ({}, "nothing"),
        ({"model": {}}, "nothing"),
        ({"model": 3}, r"entries that are no weights \(model\)"),
        ({"state_dict": [1]}, r"entries that are no weights \(state_dict\)"),
        ({1: torch.zeros(3)}, r"entries that are no weights \(1\)"),
        ({"epoch": 3, "a": torch.zeros(1)}, r"entries that are no weights \(epoch\)"),
    ],
)
def test_a_file_without_names_and_weights_is_named(tmp_path, content, got):
    torch.save(content, tmp_path / "f.pth")
    with pytest.raises(InputError, match=rf"f\.pth: expected names and weights, .*; got {got}"):
        read_weights(tmp_path / "f.pth")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a"]), "expected names and weights"),
        (np.array([{}]), r".* \(holds an array of 'O8?', which is none of numbers\)"),
        (np.zeros(1, "datetime64[s]"), r".* \(holds an array of 'M8', which is none of numbers\)"),
        (np.zeros(1, [("a", "f4")]), r".* \(holds an array of 'V4', which is none of numbers\)"),
    ],
)
def test_an_array_that_is_no_tensor_is_named(tmp_path, array, message):
    (tmp_path / "f.pkl").write_bytes(pickle.dumps({"a": array}))
    with pytest.raises(InputError, match=rf"f\.pkl: {message}"):
        read_weights(tmp_path / "f.pkl")


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"
OBJECTS = b"cnumpy\ndtype\n(VO8\nI00\nI01\ntR(I3\nV|\nNNNI-1\nI-1\nI0\ntb"  # flags: no objects
RECORDS = b"cnumpy\ndtype\n(Vi8\nI00\nI01\ntR(I3\nV<\nN(Va\nt}I-1\nI-1\nI0\ntb"


@pytest.mark.parametrize(
    "forged",
    [
        b"cnumpy\nndarray\n((I1\ntcnumpy\ndtype\n(VO\ntRC\x0812345678tR",
        RECONSTRUCT + b"(I1\n(I1\nt" + OBJECTS + b"I00\nC\x0812345678tb",
        RECONSTRUCT + b"(I1\n(I1\nt" + RECORDS + b"I00\nC\x0812345678tb",
        RECONSTRUCT + b"(I1\n(I1\ntNI00\nC\x0812345678tb",
        b"cnumpy\nndarray\n)\x81",
        b"cnumpy\ndtype\n(cnumpy\nndarray\ntR",
    ],
    ids=["buffer", "flags", "records", "no dtype", "new object", "dtype of a class"],
)
def test_bytes_of_a_pickle_become_no_pointers_to_python_objects(tmp_path, forged):
    """NumPy's own functions would make an array of objects whose addresses the file states."""
    (tmp_path / "f.pkl").write_bytes(b"}Va\n" + forged + b"s.")
    with pytest.raises(InputError, match=r"f\.pkl: cannot be read as a weight file"):
        read_weights(tmp_path / "f.pkl")


def test_a_file_that_holds_itself_ends(tmp_path):
    content = {"a": np.zeros(1)}
    content["model"] = content
    (tmp_path / "f.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=r"entries that are no weights \(model\)"):
        read_weights(tmp_path / "f.pkl")


@pytest.mark.parametrize("name", ["f.pth", "f.pkl", "f.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04cut", b"\x80\x04cut"])
def test_an_unreadable_file_is_named_with_what_was_expected(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        InputError,
        match=rf"^{re.escape(str(tmp_path / name))}: cannot be read as a weight file \(.*\); "
        r"expected a PyTorch \.pth, a Detectron2 \.pkl or a \.safetensors of weights alone",
    ):
        read_weights(tmp_path / name)


def test_a_cut_off_file_and_a_missing_one_are_named(tmp_path):
    torch.save(WEIGHTS, tmp_path / "f.pth")
    (tmp_path / "f.pth").write_bytes((tmp_path / "f.pth").read_bytes()[:-200])
    with pytest.raises(InputError, match=r"f\.pth: cannot be read as a weight file"):
        read_weights(tmp_path / "f.pth")
    with pytest.raises(MissingFileError, match=r"absent\.pth: there is no such file"):
        read_weights(tmp_path / "absent.pth")


# ---- no file runs code ----


class Attack:
    """Unpickled, it makes a folder."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return os.mkdir, (self.trace,)


def write_attack(path, trace, wrap=lambda attack: attack):
    """A malicious file: PyTorch's format, or for ``.pkl`` and ``.safetensors`` a plain pickle."""
    content = wrap(Attack(trace))
    if path.suffix in (".pkl", ".safetensors"):
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    return path


ENDINGS = ("pth", "pt", "bin", "pyth", "pkl", "safetensors", "weights")


@pytest.mark.parametrize("ending", ["pth", "pkl"])
def test_the_attack_works_where_it_is_not_refused(tmp_path, ending):
    """Else the tests below would prove nothing."""
    path = write_attack(tmp_path / f"evil.{ending}", tmp_path / "trace")
    if ending == "pkl":
        pickle.loads(path.read_bytes())  # noqa: S301
    else:
        torch.load(path, weights_only=False)
    assert (tmp_path / "trace").is_dir()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda attack: attack,
        lambda attack: {"model": {"a": torch.zeros(1).numpy(), "b": attack}},
        lambda attack: {"model": {"a": np.zeros(1)}, "__author__": attack},
        lambda attack: {"model": {"a": np.array([attack], dtype=object)}},
    ],
    ids=["bare", "among the weights", "beside them", "in an array"],
)
def test_no_kind_of_file_runs_code(tmp_path, ending, wrap):
    path = write_attack(tmp_path / f"evil.{ending}", tmp_path / "trace", wrap)
    with pytest.raises(InputError, match=rf"evil\.{ending}: cannot be read as a weight file"):
        read_weights(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("os", "system"), ("numpy", "load"), ("torch", "load")],
)
def test_a_pickle_names_what_it_must_not_hold(tmp_path, module, name):
    (tmp_path / "f.pkl").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(InputError, match=rf"holds {module}\.{name}, which is no array of numbers"):
        read_weights(tmp_path / "f.pkl")


def test_bytes_of_another_codec_than_pickles_own_are_refused(tmp_path):
    (tmp_path / "f.pkl").write_bytes(b"c_codecs\nencode\n(Vx\nVrot13\ntR.")
    with pytest.raises(InputError, match="holds bytes in the encoding 'rot13'"):
        read_weights(tmp_path / "f.pkl")


def _checkpointer(path):
    TVCheckpointer(nn.Linear(1, 1)).load(str(path))


def _detectron2s_checkpointer(path):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from wend.d2.checkpointer import WENDCheckpointer

    WENDCheckpointer(nn.Linear(1, 1)).load(str(path))


def _resuming(path):
    """The file's folder as that of a run, whose pointer names the file."""
    (path.parent / "last_checkpoint").write_text(path.name)
    TVCheckpointer(nn.Linear(1, 1), save_dir=str(path.parent)).resume_or_load("", resume=True)


def _classifier(path):
    efficientnet()  # skips where the package is not installed
    build_classifier("efficientnet-b0", path, "canonical", crop=64)


LOADERS = [
    _checkpointer,
    _detectron2s_checkpointer,
    _resuming,
    _classifier,
    lambda path: build_backbone("torchvision:resnet18", path, input_size=32),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("load", LOADERS, ids=lambda load: load.__name__)
def test_no_loader_runs_a_files_code(tmp_path, ending, load):
    path = write_attack(tmp_path / f"evil.{ending}", tmp_path / "trace")
    with pytest.raises(InputError, match=rf"evil\.{ending}: cannot be read as a weight file"):
        load(path)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("ending", ["pth", "pkl"])
@pytest.mark.parametrize("command", ["classify", "pseudo-boxes"])
def test_no_command_runs_a_files_code(toy_root, tmp_path, capsys, command, ending):
    path = write_attack(tmp_path / f"evil.{ending}", tmp_path / "trace")
    call = [command, "--dataset", "toy_test", "--datasets-root", str(toy_root.parent)]
    call += ["--weights", str(path), "--output", str(tmp_path / "out")]
    if command == "classify":
        efficientnet()  # skips where the package is not installed
        call += ["--model", "efficientnet-b0", "--preprocessing", "canonical"]
    else:
        call += ["--method", "ddt", "--backbone", "torchvision:resnet18"]
    assert main(call) == 2
    assert f"evil.{ending}: cannot be read as a weight file" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


@pytest.mark.usefixtures("_one_thread", "_own_loggers")
@pytest.mark.parametrize("flag", ["train", "--eval-only", "--resume"])
def test_no_engine_runs_a_files_code(toy_root, tmp_path, monkeypatch, capsys, engine, flag):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
    out = tmp_path / "out"
    out.mkdir()
    name = "model_0000003.pth" if flag == "--resume" else "evil.pkl"
    path = write_attack(out / name, tmp_path / "trace")
    changes = {} if flag == "--resume" else {"MODEL.WEIGHTS": str(path)}
    flags = [] if flag == "train" else [flag]
    assert run(engine, out, *flags, changes=changes) == 2
    assert f"{name}: cannot be read as a weight file" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


# ---- how a file differs from a model ----


def test_differences_are_counted_and_named_with_both_shapes():
    given = {"a": torch.zeros(2), "b": torch.zeros(9), "x": torch.zeros(1)}
    wanted = {"a": torch.zeros(2), "b": torch.zeros(3, 3), "c": torch.zeros(1), "d": torch.zeros(1)}
    differences = compare_weights(given, wanted)
    assert str(differences) == (
        "1 of another shape (b (9,), not (3, 3)); 2 missing in the file (c, d); "
        "1 not in the model (x)"
    )
    assert differences
    assert differences.names() == ["b", "c", "d", "x"]


def test_batch_norms_counters_are_no_difference():
    norm, old = nn.BatchNorm2d(2).state_dict(), nn.BatchNorm2d(2).state_dict()
    del old["num_batches_tracked"]
    assert not compare_weights(norm, old)
    assert not compare_weights(old, norm)
    assert str(compare_weights(old, norm)) == ""


def test_weights_are_loaded_but_for_a_head_of_another_size():
    source, model = resnet18(num_classes=7), resnet18(num_classes=3)
    head = model.fc.weight.clone()
    load_weights("f.pth", source.state_dict(), "resnet18", model, heads=("fc.",))
    for name, value in model.state_dict().items():
        assert torch.equal(value, head if name == "fc.weight" else value)
        if not name.startswith("fc."):
            assert torch.equal(value, source.state_dict()[name]), name
    with pytest.raises(
        InputError,
        match=r"^f\.pth: not a checkpoint of resnet18: 100 of its 102 weights fit; "
        r"2 of another shape \(fc\.weight \(7, 512\), "
        r"not \(3, 512\), fc\.bias \(7,\), not \(3,\)\)$",
    ):
        load_weights("f.pth", source.state_dict(), "resnet18", model)


class Runs:
    def __reduce__(self):
        return eval, ("1 + 1",)


def test_what_would_run_code_is_named_and_torchs_advice_how_to_run_it_is_not_given(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"model": WEIGHTS, "more": Runs()}, path)
    with pytest.raises(InputError, match=r"\(holds [\w.]*eval, which is no weight; ") as raised:
        read_checkpoint(path)
    assert "weights_only" not in str(raised.value)


def test_an_unreadable_file_is_told_to_another_process(tmp_path):
    error = UnreadableError(tmp_path / "a.pth", ValueError("no zip"))
    told = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(told, InputError)
    assert str(told) == str(error)


def test_a_folder_is_no_missing_file(tmp_path):
    with pytest.raises(InputError, match="is a folder; expected the file"):
        read_weights(tmp_path)
