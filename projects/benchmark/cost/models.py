"""The detectors of the cost benchmark by name: ours from their YAMLs, the peers from theirs.

Each is a :class:`Subject`: a model, its optimizer, and batches as it takes them. Weights are random
and rates tiny: what is measured is the cost of the arithmetic, not what is learned.
"""

# ruff: noqa: TID251 (a comparison of both engines imports both)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = ROOT / "configs" / "CUB"
TORCHVISION = "torchvision engine"  # in the names of its rows
FROZEN = ("MODEL.BACKBONE.FREEZE_AT", "5")
RATE = "1e-6"  # random weights diverge at the paper's


class MissingModelError(Exception):
    """A model that cannot be built here, with the reason."""


@dataclass
class Subject:
    """A model with what it is fed.

    Attributes:
        name: row of the table.
        model: on its device.
        optimizer: over the trained parameters.
        train_inputs: arguments of the model in training; it returns losses by name.
        test_inputs: arguments of the model in evaluation.
        scale: seconds are multiplied by it for training and for testing, where a batch is smaller
            than asked for (:data:`SLOW`); otherwise 1.
    """

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    train_inputs: tuple[Any, ...]
    test_inputs: tuple[Any, ...]
    scale: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Sizes:
    """Batches: images to train, images to test, and the side of the crop in pixels."""

    train: int
    test: int
    crop: int = 224


def images_and_boxes(count: int, crop: int) -> list[tuple[Tensor, Tensor]]:
    """Random crops (3, crop, crop) uint8, each with one box (1, 4) like a bird's."""
    generator = torch.Generator().manual_seed(0)
    result = []
    for _ in range(count):
        image = torch.randint(0, 256, (3, crop, crop), generator=generator, dtype=torch.uint8)
        low, high = torch.rand(2, 2, generator=generator) * 0.3 * crop
        result.append((image, torch.cat([low, crop - high])[None]))
    return result


def d2_batch(count: int, crop: int, num_classes: int) -> list[dict[str, Any]]:
    """A batch of ``WSOLDatasetMapper``'s dicts."""
    from detectron2.structures import Boxes, Instances

    batch = []
    for index, (image, boxes) in enumerate(images_and_boxes(count, crop)):
        instances = Instances((crop, crop), gt_boxes=Boxes(boxes))
        instances.gt_classes = torch.tensor([index % num_classes])
        batch.append({"image": image, "height": crop, "width": crop, "instances": instances})
    return batch


def as_loaded(batch: list[Any], device: str) -> list[Any]:
    """A batch of ours as the loaders of a training hand it on: in one piece of memory."""
    try:
        from wend.loading.packed_batch import PackedBatch
    except ImportError:  # an older checkout's are lists
        return batch
    packed = PackedBatch(batch)
    if torch.device(device).type == "cuda":
        return list(packed.pin_memory())
    unpacked, parts = packed.__reduce__()  # as it comes from a worker
    return list(unpacked(*parts))


class BackboneAlone(nn.Module):
    """Normalization and backbone of a Detectron2 detector; its loss is the feature map's mean."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector
        del self.detector.head

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch of dicts -> the last feature map, or its mean in training."""
        images, _ = self.detector.batch([entry["image"] for entry in batch])
        (feature,) = self.detector.backbone(images).values()
        return {"loss": feature.mean()} if self.training else {"feature": feature}


def wend_config(file: str, overrides: tuple[str, ...], crop: int, device: str) -> Any:
    """Detectron2's config of one of ``configs/CUB``; MissingModelError where there is none."""
    from detectron2.config import get_cfg

    from wend.config import add_wend_config, merge_config

    path = CONFIGS / file
    if not path.is_file():
        raise MissingModelError(f"there is no {path.relative_to(ROOT)}")
    cfg = get_cfg()
    add_wend_config(cfg)
    fixed = ("MODEL.DEVICE", device, "SOLVER.BASE_LR", RATE, "WEND.CROP", str(crop))
    merge_config(cfg, str(path), [*overrides, *fixed], "")
    return cfg


def build_wend(
    name: str, sizes: Sizes, device: str, file: str, overrides: tuple[str, ...] = ()
) -> Subject:
    """One of this project's detectors with the optimizer that trains it."""
    from detectron2.modeling import build_model

    from wend.d2 import Trainer
    from wend.d2.features import number_of_classes

    cfg = wend_config(file, overrides, sizes.crop, device)
    model = build_model(cfg)
    damp_frozen_norms(model)
    if name.startswith("backbone"):
        model = BackboneAlone(model)
    classes = number_of_classes(cfg)
    batches = [
        as_loaded(d2_batch(count, sizes.crop, classes), device)
        for count in (sizes.train, sizes.test)
    ]
    optimizer = Trainer.build_optimizer(cfg, model)
    return Subject(name, model, optimizer, *((batch,) for batch in batches))


def build_wend_tv(
    name: str, sizes: Sizes, device: str, file: str, overrides: tuple[str, ...] = ()
) -> Subject:
    """One of this project's detectors on the torchvision engine."""
    from wend.tv.engine import build_optimizer
    from wend.tv.models import build_model
    from wend.tv.run import read_config

    fixed = ("MODEL.DEVICE", device, "SOLVER.BASE_LR", RATE, "WEND.CROP", str(sizes.crop))
    cfg = read_config(str(CONFIGS / file), [*overrides, *fixed])
    model = build_model(cfg)
    label = getattr(model, "foreground_label", 1)

    def crops(count: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        images, boxes = zip(*images_and_boxes(count, sizes.crop), strict=True)
        labels = torch.full((1,), label, dtype=torch.int64, device=device)
        targets = [{"boxes": each.to(device), "labels": labels} for each in boxes]
        return [*torch.stack(images).to(device).float()], targets

    test, _ = crops(sizes.test)
    return Subject(name, model, build_optimizer(cfg, model), crops(sizes.train), (test,))


def damp_frozen_norms(model: nn.Module) -> None:
    """Keep activations finite where batch norm is frozen and weights are random.

    Untrained frozen batch norm scales nothing: 16 residual sums grow until boxes are infinite.
    """
    from detectron2.layers import FrozenBatchNorm2d

    for name, module in model.named_modules():
        if isinstance(module, FrozenBatchNorm2d) and name.endswith("conv3.norm"):
            module.weight.fill_(0.1)


def build_d2_peer(name: str, sizes: Sizes, device: str, file: str) -> Subject:
    """A detector of Detectron2's model zoo as its config file says, on crops of our size."""
    import detectron2
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    folder = Path(detectron2.__file__).parent / "model_zoo" / "configs"
    if not folder.is_dir():  # in a checkout it is a link, which an installation may lack
        folder = Path(detectron2.__file__).parents[1] / "configs"
    if not (folder / file).is_file():
        raise MissingModelError(f"Detectron2 is installed without model_zoo/configs/{file}")
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / file))
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, ""
    model = build_model(cfg)
    damp_frozen_norms(model)
    classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    batches = [d2_batch(count, sizes.crop, classes) for count in (sizes.train, sizes.test)]
    return Subject(name, model, sgd(model), *((batch,) for batch in batches))


def sgd(model: nn.Module) -> torch.optim.SGD:
    """The paper's optimizer over the trained parameters."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.SGD(trained, lr=float(RATE), momentum=0.9, weight_decay=1e-4)


def build_tv_peer(name: str, sizes: Sizes, device: str, builder: str) -> Subject:
    """A detector of torchvision with its defaults, on crops of our size."""
    try:
        from torchvision.models import detection
    except ImportError as error:
        raise MissingModelError(f"torchvision is not installed: {error}") from error
    model = getattr(detection, builder)(
        weights=None, weights_backbone=None, min_size=sizes.crop, max_size=sizes.crop
    ).to(device)

    def images(count: int) -> list[tuple[Tensor, Tensor]]:
        return images_and_boxes(count, sizes.crop)

    train = [(image.to(device) / 255, boxes.to(device)) for image, boxes in images(sizes.train)]
    test = [image.to(device) / 255 for image, _ in images(sizes.test)]
    label = torch.ones(1, dtype=torch.int64, device=device)
    targets = [{"boxes": boxes, "labels": label} for _, boxes in train]
    return Subject(name, model, sgd(model), ([image for image, _ in train], targets), (test,))


def _ours(file: str, *overrides: str) -> tuple[Callable[..., Subject], tuple[Any, ...]]:
    return build_wend, (file, overrides)


def _tv(file: str, *overrides: str) -> tuple[Callable[..., Subject], tuple[Any, ...]]:
    return build_wend_tv, (file, overrides)


# row -> function that builds it and what it is told
OURS = {
    "backbone": _ours("scr_R50.yaml"),
    "SCR": _ours("scr_R50.yaml"),
    "BCD-FCOS": _ours("fcos_R50_we.yaml"),
    "BCD-FCOS lean": _ours("fcos_R50_lean_we.yaml"),
    "FCOS 200 classes": _ours("fcos_R50.yaml", "WEND.FCOS.NUM_CLASSES", "200"),
    "FCOS 1000 classes": _ours("fcos_R50.yaml", "WEND.FCOS.NUM_CLASSES", "1000"),
    "Faster R-CNN": _ours("faster_rcnn_R50_we.yaml"),
    "Faster R-CNN lean": _ours("faster_rcnn_R50_lean_we.yaml"),
    "CLN": _ours("cln_R50_we.yaml"),
    "Deformable DETR": _ours("deformable_detr_R50_we.yaml"),
}
ON_TORCHVISION = {
    f"SCR, {TORCHVISION}": _tv("scr_R50.yaml"),
    f"BCD-FCOS, {TORCHVISION}": _tv("fcos_R50_we.yaml"),
    f"Faster R-CNN, {TORCHVISION}": _tv("faster_rcnn_R50_we.yaml"),
    f"Faster R-CNN lean, {TORCHVISION}": _tv("faster_rcnn_R50_lean_we.yaml"),
    f"Deformable DETR, {TORCHVISION}": _tv("deformable_detr_R50_we.yaml"),
}
PEERS = {
    "Detectron2 R_50_FPN": (build_d2_peer, ("COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",)),
    "Detectron2 R_50_C4": (build_d2_peer, ("COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",)),
    "torchvision fasterrcnn": (build_tv_peer, ("fasterrcnn_resnet50_fpn",)),
    "torchvision fcos": (build_tv_peer, ("fcos_resnet50_fpn",)),
}
# On a CPU fed image by image and its time multiplied: 512 samples (1,000 proposals in tests) an
# image pass a whole stage of ResNet each, a hundred times the backbone's own work.
SLOW = ("Detectron2 R_50_C4",)
MODELS = {
    **OURS,
    **{
        f"{name}, frozen": (build, (file, (*overrides, *FROZEN)))
        for name, (build, (file, overrides)) in OURS.items()
        if name != "backbone"
    },
    **ON_TORCHVISION,
    **PEERS,
}


def build(name: str, sizes: Sizes, device: str) -> Subject:
    """The model of a row; MissingModelError says why it cannot be built."""
    from wend.errors import InputError

    torch.manual_seed(0)
    function, arguments = MODELS[name]
    alone = name in SLOW and device == "cpu"
    fed = replace(sizes, train=1, test=1) if alone else sizes
    try:
        subject = function(name, fed, device, *arguments)
    except (ImportError, InputError) as error:
        raise MissingModelError(" ".join(str(error).split())) from error
    subject.scale = sizes.train / fed.train, sizes.test / fed.test
    return subject
