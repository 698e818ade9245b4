"""wend.modeling.optimizer: epochs become iterations, and the head learns at its own rate."""

import pytest
import torch
from fvcore.common.config import CfgNode

from wend.config import add_wend_config
from wend.errors import InputError, NonFiniteLossError
from wend.modeling.optimizer import (
    describe_non_finite,
    lr_factor,
    optimizer_class,
    refuse_non_finite,
)
from wend.run import iterations_per_epoch, resolve_schedule


def config(epochs=50, batch=256, warmup=0, max_iter=40000) -> CfgNode:
    cfg = CfgNode(
        {
            "SOLVER": {
                "IMS_PER_BATCH": batch,
                "MAX_ITER": max_iter,
                "WARMUP_ITERS": warmup,
                "CHECKPOINT_PERIOD": 5000,
            },
            "TEST": {"EVAL_PERIOD": 0},
            "DATALOADER": {"SAMPLER_TRAIN": "TrainingSampler", "REPEAT_THRESHOLD": 0.0},
        }
    )
    add_wend_config(cfg)
    cfg.WEND.EPOCHS = epochs
    return cfg


def lengths(cfg):
    return cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD


@pytest.mark.parametrize(
    ("images", "batch", "iterations"),
    [(512, 256, 2), (513, 256, 3), (511, 256, 2), (1, 256, 1), (10, 1, 10)],
)
def test_the_last_part_of_a_batch_is_an_iteration_too(images, batch, iterations):
    assert iterations_per_epoch(config(batch=batch), images) == iterations


def test_the_papers_schedules_in_iterations():
    # CUB: 5994 / 256 = 23.4 -> 24 an epoch, 50 epochs -> 1200
    assert lengths(resolve_schedule(config(epochs=50), 5994)) == (1200, 24, 24)
    # ImageNet: 1281167 / 256 = 5004.6 -> 5005 an epoch, 10 epochs -> 50050
    assert lengths(resolve_schedule(config(epochs=10), 1_281_167)) == (50_050, 5005, 5005)


@pytest.mark.parametrize(
    ("entry", "value", "right"),
    [("SOLVER.MAX_ITER", 900, 10), ("TEST.EVAL_PERIOD", 3, 2), ("SOLVER.CHECKPOINT_PERIOD", 7, 2)],
)
def test_epochs_and_another_schedule_are_an_error_and_their_own_is_taken(entry, value, right):
    cfg = config(epochs=5)
    node, name = entry.split(".")
    cfg[node][name] = value
    with pytest.raises(
        InputError, match=rf"WEND\.EPOCHS \(5\) and {entry} \({value}\) both .* make {right};"
    ):
        resolve_schedule(cfg, 512)
    cfg[node][name] = right
    assert lengths(resolve_schedule(cfg, 512)) == (10, 2, 2)


def test_without_epochs_the_iterations_stay():
    cfg = config(epochs=0, max_iter=90, warmup=89)
    assert lengths(resolve_schedule(cfg, 5994)) == (90, 0, 5000)


def test_the_result_is_a_frozen_copy_and_a_frozen_config_is_taken():
    cfg = config(epochs=2)
    cfg.freeze()
    resolved = resolve_schedule(cfg, 512)
    assert lengths(cfg) == (40000, 0, 5000)
    assert cfg.is_frozen()
    assert resolved.is_frozen()
    assert resolved.SOLVER.MAX_ITER == 4


def test_resolving_twice_is_resolving_once():
    once = resolve_schedule(config(epochs=3), 1000)
    assert resolve_schedule(once, 1000) == once


@pytest.mark.parametrize(
    ("cfg", "said"),
    [
        # 2 epochs of ceil(10 / 4) = 3 iterations
        (config(epochs=2, batch=4, warmup=6), r"than the 6 iterations .*10 images, batch 4, 2 ep"),
        (config(epochs=2, batch=4, warmup=7), r"than the 6 iterations .*got 7"),
        (config(epochs=0, max_iter=90, warmup=1000), r"than the 90 iterations .*got 1000"),
    ],
)
def test_warm_up_as_long_as_the_training_is_an_error(cfg, said):
    with pytest.raises(
        InputError, match=rf"config entry SOLVER\.WARMUP_ITERS: expected fewer {said}"
    ):
        resolve_schedule(cfg, 10)


def test_warm_up_may_end_with_the_last_iteration():
    assert resolve_schedule(config(epochs=2, batch=4, warmup=5), 10).SOLVER.MAX_ITER == 6


@pytest.mark.parametrize(
    ("parameter", "factor"),
    [
        ("backbone.res2.0.conv1.weight", 1.0),
        ("backbone.bottom_up.res5.2.conv3.norm.weight", 1.0),
        ("backbone.body.layer4.0.bn1.bias", 1.0),
        ("backbone.stem.conv1.weight", 1.0),
        ("backbone.fpn_lateral3.weight", 2.0),
        ("backbone.fpn_output5.bias", 2.0),
        ("backbone.fpn.inner_blocks.0.0.weight", 2.0),
        ("backbone.top_block.p6.weight", 2.0),
        ("head.cls_score.weight", 2.0),
        ("proposal_generator.rpn_head.conv.weight", 2.0),
        ("roi_heads.box_predictor.cls_score.bias", 2.0),
        # Deformable DETR: "the linear projections ... are reduced to 0.1" (appendix A)
        ("transformer.reference_points.weight", 1.0),
        ("transformer.encoder.layers.0.self_attn.sampling_offsets.bias", 1.0),
        ("transformer.encoder.layers.0.self_attn.value_proj.bias", 2.0),
        ("head.backbone.weight", 2.0),  # the first part counts
        ("backbone2.conv.weight", 2.0),
    ],
)
def test_only_the_pretrained_trunk_learns_at_the_base_rate(parameter, factor):
    assert lr_factor(parameter, 2.0) == factor


def test_the_heads_factor_is_the_given_one():
    assert lr_factor("head.bias", 10.0) == 10.0
    assert lr_factor("backbone.res2.bias", 10.0) == 1.0


def solver(**changes) -> CfgNode:
    cfg = config()
    cfg.SOLVER = CfgNode({"BASE_LR": 0.5, "WEIGHT_DECAY": 0.25, "MOMENTUM": 0.75, "NESTEROV": True})
    cfg.WEND.merge_from_other_cfg(CfgNode(changes))
    return cfg


def test_sgd_has_the_configs_momentum():
    arguments = {"lr": 0.5, "weight_decay": 0.25, "momentum": 0.75, "nesterov": True}
    assert optimizer_class(solver()) == (torch.optim.SGD, arguments)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_has_the_papers_betas(name):
    arguments = {"lr": 0.5, "weight_decay": 0.25, "betas": (0.9, 0.999)}
    assert optimizer_class(solver(OPTIMIZER=name)) == (getattr(torch.optim, name), arguments)


LOSSES = {
    "loss_cls": torch.tensor(1.0, requires_grad=True),
    "loss_box": torch.tensor(float("nan")),
    "loss_unsup": torch.tensor(float("inf"), dtype=torch.float16),
}


def test_terms_that_are_no_numbers_are_named_with_the_images():
    said = describe_non_finite(LOSSES, [7, "a/b.jpg"])
    assert said == "loss_box is nan, loss_unsup is inf on the images 7, a/b.jpg"
    assert describe_non_finite({"loss_cls": LOSSES["loss_cls"]}, [7]) == ""


def test_every_process_is_told_of_the_one_that_failed():
    refuse_non_finite(["", ""], "iteration 3")
    with pytest.raises(
        NonFiniteLossError,
        match=r"^iteration 3: process 1: loss is nan on the images 5; the step was not taken\.",
    ):
        refuse_non_finite(["", "loss is nan on the images 5"], "iteration 3")
