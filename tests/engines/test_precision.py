"""bfloat16 and float16 on both engines: near float32, saved, resumed, and what an overflow does."""

import json
import math
import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from engine_runs import (
    BUILDABLE,
    ONE_ANCHOR,
    config,
    detections,
    go_on,
    losses,
    random_crops,
    run,
)
from torch import nn

import wend
from wend.errors import InputError, NonFiniteLossError
from wend.losses import LocalizationLoss
from wend.modeling import arithmetic
from wend.modeling.arithmetic import Precision, check_precision, precision_of
from wend.training import changes, loss_scale
from wend.training.loss_scale import LossScale
from wend.weight_files import Origin

FLOAT32 = {"WEND.PRECISION": "float32"}
BFLOAT16 = {"WEND.PRECISION": "bfloat16"}
FLOAT16 = {"WEND.PRECISION": "float16"}
EVERY_SAMPLE = {
    "MODEL.RPN.BATCH_SIZE_PER_IMAGE": "100000",
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": "100000",
}
FAST = ("torchvision", "scr")


def built(engine, detector, changes):
    """The detector as the engine's command builds it."""
    one_anchor = ONE_ANCHOR if detector == "cln" else {}
    cfg = config(engine, detector, {**EVERY_SAMPLE, **one_anchor, **changes})
    torch.manual_seed(0)
    if engine == "detectron2":
        from wend.d2.trainer import Trainer

        return Trainer.build_model(cfg).train()
    from wend.tv.models import build_model

    return build_model(cfg).train()


def computed(engine, detector, changes):
    """Losses, gradients, detections, and the numbers that the first layer of each pass gave."""
    model = built(engine, detector, changes)
    numbers = []
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    layer.register_forward_hook(lambda *call: numbers.append(call[-1].dtype))
    crops = random_crops(6, (1, 3, 0, 2, 1, 1))
    torch.manual_seed(1)
    terms = losses(engine, model, crops)
    sum(terms.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    model.eval()
    predicted = detections(engine, model, crops)
    return (
        {name: value.detach() for name, value in terms.items()},
        torch.cat([gradient.flatten() for gradient in gradients]),
        predicted,
        numbers,
    )


def assert_near_float32(engine, detector, changes, dtype):
    terms, gradients, predicted, _ = computed(engine, detector, {})
    half_terms, half_gradients, half_predicted, numbers = computed(engine, detector, changes)
    assert numbers == [dtype, dtype]
    assert half_terms.keys() == terms.keys()
    total, half_total = (sum(each.values()).item() for each in (terms, half_terms))
    assert half_total == pytest.approx(total, rel=0.02)
    assert torch.isfinite(half_gradients).all()
    assert torch.cosine_similarity(gradients, half_gradients, dim=0) > 0.95
    for (boxes, scores), (half_boxes, half_scores) in zip(predicted, half_predicted, strict=True):
        assert half_boxes.dtype == half_scores.dtype == torch.float32
        assert ((half_boxes >= 0) & (half_boxes <= 56)).all()
        assert ((half_scores >= 0) & (half_scores <= 1)).all()
        assert len(half_boxes) == len(boxes)
        assert half_scores.tolist() == pytest.approx(scores.tolist(), abs=0.01)


@pytest.mark.parametrize(
    ("engine", "detector"),
    [pytest.param(*each, marks=[] if each == FAST else pytest.mark.slow) for each in BUILDABLE],
)
def test_every_detector_in_bfloat16_is_near_float32(engine, detector):
    assert_near_float32(engine, detector, BFLOAT16, torch.bfloat16)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
def test_every_detector_in_float16_is_near_float32(engine, detector):
    assert_near_float32(engine, detector, FLOAT16, torch.float16)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_detector_computes_the_same_in_channels_last(engine, detector, precision):
    changes = {"WEND.PRECISION": precision}
    terms, gradients, predicted, _ = computed(engine, detector, changes)
    last = computed(engine, detector, {**changes, "WEND.CHANNELS_LAST": "True"})
    tolerance = 1e-4 if precision == "float32" else 0.02
    assert sum(last[0].values()).item() == pytest.approx(sum(terms.values()).item(), rel=tolerance)
    assert torch.cosine_similarity(gradients, last[1], dim=0) > 1 - tolerance
    for (_, scores), (_, scores_last) in zip(predicted, last[2], strict=True):
        assert scores_last.tolist() == pytest.approx(scores.tolist(), abs=tolerance)


@pytest.mark.parametrize(
    ("precision", "enabled", "expected"),
    [
        ("", False, Precision()),
        ("", True, Precision(torch.float16, torch.float32)),  # as Detectron2's
        ("bfloat16", False, Precision(torch.bfloat16, torch.bfloat16)),
        ("bfloat16", True, Precision(torch.bfloat16, torch.bfloat16)),
        ("float32", False, Precision()),
    ],
)
def test_one_entry_decides(precision, enabled, expected):
    changes = {"WEND.PRECISION": precision, "SOLVER.AMP.ENABLED": str(enabled)}
    cfg = config("torchvision", changes=changes)
    assert precision_of(cfg) == expected


def test_a_contradiction_is_refused():
    with pytest.raises(InputError, match=r"WEND\.PRECISION: expected bfloat16, float16 or none"):
        config("torchvision", changes={"WEND.PRECISION": "float32", "SOLVER.AMP.ENABLED": "True"})


@pytest.mark.parametrize(
    ("changes", "entry"),
    [(FLOAT16, "WEND.PRECISION"), ({"SOLVER.AMP.ENABLED": "True"}, "SOLVER.AMP.ENABLED")],
    ids=["precision", "amp"],
)
def test_float16_without_a_gpu_is_refused_before_anything_is_read(
    engine, changes, entry, tmp_path, capsys
):
    assert run(engine, tmp_path / "out", changes=changes) == 2
    error = capsys.readouterr().err
    assert f"config entry {entry}: float16 needs a GPU, MODEL.DEVICE is cpu" in error
    assert len(error.splitlines()) == 1


def test_what_only_training_would_need_hinders_no_evaluation():
    cfg = config("torchvision", changes={"SOLVER.AMP.ENABLED": "True"})
    check_precision(cfg, train=False)
    with pytest.raises(InputError):
        check_precision(cfg, train=True)


def last_logged(folder, name):
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [line[name] for line in lines if name in line][-1]


@pytest.mark.parametrize(
    "engine", ["torchvision", pytest.param("detectron2", marks=pytest.mark.slow)]
)
def test_a_training_in_bfloat16_is_evaluated_saved_and_resumed_as_one(engine, tmp_path, capsys):
    changes = {**BFLOAT16, "WEND.EMA.DECAY": "0.9", "WEND.HELD_OUT": "0.2", "WEND.ACCUMULATE": "2"}
    changes |= {"WEND.REFINE": "average", "WEND.TEACHER.START": "0.2"}
    scr = {"detector": "scr", "changes": changes}
    folder = tmp_path / "whole"
    assert run(engine, folder, **scr) == 0
    whole = torch.load(folder / "model_final.pth", weights_only=True)
    numbers = [value for value in whole["model"].values() if value.is_floating_point()]
    assert {value.dtype for value in numbers} == {torch.float32}
    assert math.isfinite(last_logged(folder, "total_loss"))
    first = sorted(folder.glob("model_0*.pth"))[0]
    assert go_on(engine, first, tmp_path / "on", **scr) == 0
    on = torch.load(tmp_path / "on" / "model_final.pth", weights_only=True)
    for name, value in whole["model"].items():
        assert torch.equal(value, on["model"][name]), name
    capsys.readouterr()
    changes |= FLOAT32
    assert go_on(engine, first, tmp_path / "other", **scr) == 2
    assert "WEND.PRECISION: 'bfloat16' -> 'float32'" in capsys.readouterr().err


# ---- float16, whose factor and overflow a CPU has, too ----


@pytest.fixture
def float16_on_cpu(monkeypatch):
    """Layers multiply in float32, since in float16 they take seconds; the rest is as it is."""
    monkeypatch.setattr("wend.run.check_precision", lambda *_, **__: None)
    monkeypatch.setattr(arithmetic, "in_its_numbers", lambda _: nullcontext())


def _small_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return model, optimizer, LossScale(model, optimizer, torch.float16)


def _step(model, optimizer, scale, factor=1.0):
    optimizer.zero_grad()
    scale.begin()
    scale.backward(factor * model(torch.randn(8, 3)).square().mean())
    scale.step()


def test_the_factor_changes_no_gradient():
    model, optimizer, scale = _small_training()
    state = torch.get_rng_state()
    _step(model, optimizer, scale)
    torch.manual_seed(0)
    plain, of_plain, _ = _small_training()
    none = LossScale(plain, of_plain, torch.float32)
    torch.set_rng_state(state)
    _step(plain, of_plain, none)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert none.scalars() == {}
    assert scale.scalars() == {"loss_scale": 65536.0, "skipped_steps": 0.0}


def test_overflowing_gradients_halve_the_factor_and_change_no_weight():
    model, optimizer, scale = _small_training()
    before = [parameter.clone() for parameter in model.parameters()]
    _step(model, optimizer, scale, math.inf)
    assert all(map(torch.equal, before, model.parameters()))
    assert scale.scalars() == {"loss_scale": 32768.0, "skipped_steps": 1.0}
    state = scale.state_dict()
    _, _, other = _small_training()
    other.load_state_dict(state)
    assert other.scalars() == scale.scalars()
    _step(model, optimizer, scale)
    assert not any(map(torch.equal, before, model.parameters()))


@pytest.mark.filterwarnings("error")
def test_rates_go_on_without_a_warning_where_the_first_step_is_left_out():
    model, optimizer, scale = _small_training()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    _step(model, optimizer, scale, math.inf)
    scheduler.step()
    assert scheduler.get_last_lr() == [0.05]


def test_overflowing_losses_leave_no_trace_in_the_norms():
    model, _, scale = _small_training()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scale.begin()
    model(torch.full((8, 3), math.inf))
    assert model[1].running_mean.isnan().all()
    scale.skip(NonFiniteLossError("loss is nan"))
    after = model.state_dict()
    for name in ("1.running_mean", "1.running_var"):
        assert torch.equal(after[name], before[name])


def test_what_overflows_for_good_ends_the_training(monkeypatch):
    monkeypatch.setattr(loss_scale, "MOST_IN_A_ROW", 3)
    model, optimizer, scale = _small_training()
    for factor in (math.inf, math.inf, 1.0, math.inf, math.inf):
        _step(model, optimizer, scale, factor)
    with pytest.raises(NonFiniteLossError, match="gradients of 3 steps in a row overflow float16"):
        _step(model, optimizer, scale, math.inf)
    with pytest.raises(NonFiniteLossError, match=r"losses of 4 steps .* \(loss is nan\).*bfloat16"):
        scale.skip(NonFiniteLossError("loss is nan"))


def test_in_other_numbers_a_loss_that_is_not_finite_ends_it_at_once():
    model, optimizer, _ = _small_training()
    error = NonFiniteLossError("loss is nan")
    with pytest.raises(NonFiniteLossError, match="loss is nan"):
        LossScale(model, optimizer, torch.bfloat16).skip(error)


@pytest.mark.usefixtures("float16_on_cpu")
@pytest.mark.parametrize(
    ("engine", "accumulate"),
    [
        ("detectron2", "1"),
        pytest.param("detectron2", "2", marks=pytest.mark.slow),
        pytest.param("torchvision", "1", marks=pytest.mark.slow),
        pytest.param("torchvision", "2", marks=pytest.mark.slow),
    ],
)
def test_a_float16_training_leaves_out_steps_and_is_resumed(
    engine, accumulate, tmp_path, monkeypatch, capsys
):
    """Its third step has a loss that is infinite; batch norm and weights stay finite."""
    changes = {**FLOAT16, "WEND.ACCUMULATE": accumulate, "SOLVER.IMS_PER_BATCH": "4"}
    scr = {"detector": "scr", "changes": changes}
    joint = LocalizationLoss.joint

    def overflows(loss, terms):
        now = loss.progress.iteration == 2
        return {name: term * (math.inf if now else 1) for name, term in joint(loss, terms).items()}

    monkeypatch.setattr(LocalizationLoss, "joint", overflows)
    folder = tmp_path / "whole"
    assert run(engine, folder, **scr) == 0
    whole = torch.load(folder / "model_final.pth", weights_only=True)
    assert all(value.isfinite().all() for value in whole["model"].values())
    assert whole["training"]["loss_scale"]["skipped"] >= 1
    assert last_logged(folder, "skipped_steps") >= 1
    assert last_logged(folder, "loss_scale") == whole["training"]["loss_scale"]["scaler"]["scale"]
    first = sorted(folder.glob("model_0*.pth"))[0]
    assert go_on(engine, first, tmp_path / "on", **scr) == 0
    on = torch.load(tmp_path / "on" / "model_final.pth", weights_only=True)
    assert on["training"]["loss_scale"] == whole["training"]["loss_scale"]
    for name, value in whole["model"].items():
        assert torch.equal(value, on["model"][name]), name
    monkeypatch.undo()
    capsys.readouterr()
    detector = wend.load(folder, engine=engine)  # where there is no GPU
    assert detector.model.cfg.WEND.PRECISION == "float32"
    boxes = detector(np.zeros((64, 64, 3), np.uint8)).xyxy
    assert np.isfinite(boxes).all()


def test_an_evaluation_in_other_numbers_than_the_trainings_says_so(monkeypatch, caplog):
    cfg = config("torchvision", "scr", BFLOAT16)
    origin = Origin(cfg.dump(), "torchvision", "ignore")
    monkeypatch.setattr(changes, "read_origin", lambda _: origin)
    other = config("torchvision", "scr", FLOAT32).dump()
    with caplog.at_level("INFO", logger="wend"):
        changes.warn_if_trained_otherwise("model.pth", cfg.dump())
        assert "computes in other numbers" not in caplog.text
        changes.warn_if_trained_otherwise("model.pth", other)
    assert "computes in other numbers, WEND.PRECISION: 'bfloat16' -> 'float32'" in caplog.text
    assert "IS NOT EVALUATED" not in caplog.text


def test_the_shown_message_of_an_unknown_precision_lists_them(engine, tmp_path, capsys):
    assert run(engine, tmp_path / "out", changes={"WEND.PRECISION": "half"}) == 2
    error = capsys.readouterr().err
    assert re.search(r"WEND\.PRECISION: expected one of .*'bfloat16', 'float16'.*got 'half'", error)


# ---- the other switches ----


def _recorded_compilation(monkeypatch):
    compiled = []

    def compile_in_place(module, **how):
        compiled.append(how)
        module._compiled_call_impl = module._call_impl

    monkeypatch.setattr(nn.Module, "compile", compile_in_place)
    return compiled


@pytest.mark.parametrize("detector", ["detr", "scr"])
def test_a_compiled_backbone_has_the_names_of_weights_that_it_had(detector, monkeypatch):
    compiled = _recorded_compilation(monkeypatch)
    names = built("torchvision", detector, {}).state_dict().keys()
    assert compiled == []
    model = built("torchvision", detector, {"WEND.COMPILE": "reduce-overhead"})
    assert compiled == [{"mode": "reduce-overhead"}]
    assert model.state_dict().keys() == names


def test_what_cannot_be_compiled_is_told_in_a_line(monkeypatch):
    def fails(error):
        def compile_in_place(module, **_):
            def call(*_):
                raise error

            module._compiled_call_impl = call

        monkeypatch.setattr(nn.Module, "compile", compile_in_place)
        return built("torchvision", "scr", {"WEND.COMPILE": "default"}).backbone

    kind = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})
    expected = r"^config entry WEND\.COMPILE: .* \(No compiler found in x\.cxx\); set it to none$"
    with pytest.raises(InputError, match=expected):
        fails(kind("No compiler\nfound in x.cxx\n\nSet TORCHDYNAMO_VERBOSE=1"))(torch.zeros(1))
    with pytest.raises(RuntimeError, match="shape"):
        fails(RuntimeError("shape"))(torch.zeros(1))


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_told_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    changes = {"WEND.COMPILE": "default", "WEND.EPOCHS": "1"}
    assert run("torchvision", tmp_path / "out", detector="scr", changes=changes) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "config entry WEND.COMPILE: torch.compile could not make the backbone (" in error
    assert "No working C++ compiler" in error


def test_the_average_of_the_weights_is_compiled_too(engine, tmp_path, monkeypatch):
    compiled = _recorded_compilation(monkeypatch)
    changes = {"WEND.COMPILE": "default", "WEND.EMA.DECAY": "0.9", "WEND.EPOCHS": "1"}
    assert run(engine, tmp_path / "out", detector="scr", changes=changes) == 0
    assert compiled == [{"mode": "default"}] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "detector"), BUILDABLE)
def test_every_backbone_is_compiled_for_batches_of_any_size(engine, detector, monkeypatch):
    """By torch's own tracing; the code that it would generate takes minutes."""
    compile_graph = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda call, *, mode: compile_graph(call, backend="eager")
    )
    plain, model = (built(engine, detector, {"WEND.COMPILE": mode}) for mode in ("none", "default"))
    for number in (6, 5, 3):
        crops = random_crops(number, (1, 3, 0, 2, 1, 1))
        for each in (plain, model):
            torch.manual_seed(0)
            terms = losses(engine, each, crops)
            total = sum(terms.values())
            total.backward()
            each.last = total.item()
        assert model.last == pytest.approx(plain.last, rel=1e-4)


def test_switches_of_the_gpu_have_effect_on_both_engines(engine, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    asked = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    built(engine, "scr", {})
    assert (torch.backends.cudnn.benchmark, asked) == (False, [])
    built(engine, "scr", {"CUDNN_BENCHMARK": "True", "WEND.TF32": "True"})
    assert (torch.backends.cudnn.benchmark, asked) == (True, ["high"])
