"""The detectors that know no engine do the same on both, and each gets its own containers."""

import json

import pytest
import torch
from engine_runs import (
    CROP,
    ENGINES,
    build,
    config,
    detections,
    losses,
    optimizer,
    random_crops,
    run,
)

from wend.errors import InputError
from wend.modeling.backbones.build import BODIES
from wend.modeling.detectors import DETECTORS, SCR

NAMES = ("scr", "detr")


@pytest.fixture
def _both_engines():
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")


@pytest.mark.usefixtures("_both_engines")
@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_losses_gradients_and_detections(name):
    """To the bit; images of different sizes and one without a box."""
    crops = random_crops(3, (1, 2, 0))
    crops[1] = (crops[1][0][:, :48, :40], crops[1][1].clamp(max=40))
    results = []
    for engine in ENGINES:
        model = build(engine, config(engine, name, {"WEND.CROP_IN_MODEL": "False"}))
        initial = {name: value.clone() for name, value in model.state_dict().items()}
        terms = losses(engine, model, crops)
        sum(terms.values()).backward()
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        found = detections(engine, model.eval(), crops)
        boxes = dict(enumerate(boxes for boxes, _ in found))
        scores = dict(enumerate(scores for _, scores in found))
        results.append((initial, terms, gradients, boxes, scores))
    for ours, theirs in zip(*results, strict=True):
        assert list(ours) == list(theirs)
        assert len(ours) > 0
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.usefixtures("_both_engines")
def test_both_optimizers_give_each_parameter_the_same_rate_and_decay():
    """Adam; 2e-4, and 2e-5 for the backbone and the projections of sampling (appendix A)."""
    rates = []
    changes = {"SOLVER.BASE_LR": "0.00002", "SOLVER.WEIGHT_DECAY_NORM": "0.5"}
    for engine in ENGINES:
        cfg = config(engine, "detr", changes)
        model = build(engine, cfg)
        adam = optimizer(engine, cfg, model)
        assert type(adam) is torch.optim.Adam
        assert adam.defaults["betas"] == (0.9, 0.999)
        names = {parameter: name for name, parameter in model.named_parameters()}
        rates.append(
            {
                names[parameter]: (group["lr"], group["weight_decay"])
                for group in adam.param_groups
                for parameter in group["params"]
            }
        )
    assert rates[0] == rates[1]
    assert rates[0]["head.transformer.encoder.0.norm1.weight"] == (pytest.approx(2e-4), 0.5)
    assert rates[0]["head.transformer.reference_points.weight"] == (pytest.approx(2e-5), 1e-4)


@pytest.mark.usefixtures("_both_engines")
@pytest.mark.parametrize("name", NAMES)
def test_each_engine_trains_and_both_evaluate_the_others_checkpoint_alike(name, tmp_path):
    changes = {"WEND.EPOCHS": "1", "SOLVER.BASE_LR": "0.001"}
    for trained in ENGINES:
        assert run(trained, tmp_path / trained, detector=name, changes=changes) == 0
        found = tmp_path / trained / "inference" / "toy_test" / "detections.json"
        rows = json.loads(found.read_text())
        assert len({row["image_id"] for row in rows}) == 12
        assert len(rows) == (12 if name == "scr" else 12 * 6)  # a box per image; 6 queries
        other = ENGINES[1 - ENGINES.index(trained)]
        weights = {**changes, "MODEL.WEIGHTS": str(tmp_path / trained / "model_final.pth")}
        folder = tmp_path / f"{trained} on {other}"
        assert run(other, folder, "--eval-only", detector=name, changes=weights) == 0
        again = folder / "inference" / "toy_test" / "detections.json"
        assert again.read_bytes() == found.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_detectron2_gets_instances_in_the_frame_that_it_asks_for(name):
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.structures import Instances

    model = build("detectron2", config("detectron2", name)).eval()
    image, _ = random_crops(1, (1,))[0]
    with torch.no_grad():
        small, large = model([{"image": image}, {"image": image, "height": 100, "width": 300}])
    small, large = small["instances"], large["instances"]
    assert isinstance(small, Instances)
    assert small.image_size == (CROP, CROP)
    assert large.image_size == (100, 300)
    factor = torch.tensor([300, 100, 300, 100]) / CROP
    torch.testing.assert_close(small.pred_boxes.tensor * factor, large.pred_boxes.tensor)
    assert torch.equal(small.scores, large.scores)
    assert small.pred_classes.tolist() == [0] * len(small.scores)
    assert small.pred_classes.dtype == torch.int64


@pytest.mark.parametrize("name", NAMES)
def test_torchvision_gets_boxes_scores_and_labels(name):
    model = build("torchvision", config("torchvision", name)).eval()
    image, _ = random_crops(1, (1,))[0]
    with torch.no_grad():
        (output,) = model([image.float()])
    assert set(output) == {"boxes", "scores", "labels"}
    assert len(output["boxes"]) == len(output["scores"]) > 0
    assert output["labels"].tolist() == [model.foreground_label] * len(output["scores"])
    assert output["labels"].dtype == torch.int64


def test_detectors_are_meta_architectures_of_both_engines():
    from wend.tv import META_ARCH_REGISTRY as OF_TORCHVISION

    assert set(DETECTORS) <= set(OF_TORCHVISION)
    pytest.importorskip("detectron2", reason="Detectron2 is not installed")
    from detectron2.modeling import META_ARCH_REGISTRY

    import wend.d2  # noqa: F401  (registers detectors)

    for name in DETECTORS:
        detector = DETECTORS.get(name)
        assert issubclass(META_ARCH_REGISTRY.get(name), detector)
        assert issubclass(OF_TORCHVISION.get(name), detector)


@pytest.mark.usefixtures("own_registries")
def test_a_detector_or_backbone_that_is_edited_and_registered_again_is_built(engine):
    if engine == "detectron2":
        from detectron2.modeling import META_ARCH_REGISTRY

        import wend.d2  # noqa: F401  (registers detectors)
    else:
        from wend.tv import META_ARCH_REGISTRY

    def define(number):
        @DETECTORS.register()
        class Edited(SCR):
            version = number

        @BODIES.register("edited")
        def body(cfg, in_channels):
            raise NotImplementedError

    define(1)
    define(2)
    assert META_ARCH_REGISTRY.get("Edited").version == 2


@pytest.mark.usefixtures("own_registries")
def test_a_detector_with_the_name_of_an_engines_own_is_refused(engine):
    pytest.importorskip(f"wend.{'d2' if engine == 'detectron2' else 'tv'}.adapter")
    with pytest.raises(InputError, match=r"detector 'BinaryFCOS' is registered .*another name"):
        DETECTORS.register("BinaryFCOS")(SCR)
