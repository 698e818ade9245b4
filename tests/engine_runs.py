"""What the tests of both engines share: a tiny config, detectors of it, and whole runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.data import _utils

from wend.cli.train import main
from wend.logs import kept_logging
from wend.modeling.undrawn import Undrawn

ENGINES = ("detectron2", "torchvision")
REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs"
CONFIG_FILES = sorted(CONFIGS.rglob("*.yaml"))
# Base files name no detector and cannot be built
DETECTOR_CONFIGS = [path for path in CONFIG_FILES if not path.name.startswith("Base-")]
CONFIG_IDS = [str(path.relative_to(CONFIGS)) for path in DETECTOR_CONFIGS]
DETECTORS = {
    "fcos": CONFIGS / "CUB" / "fcos_R50_we_literal.yaml",
    "rcnn": CONFIGS / "CUB" / "faster_rcnn_R50_we_literal.yaml",
    "cln": CONFIGS / "CUB" / "cln_R50_we_literal.yaml",
    "scr": CONFIGS / "CUB" / "scr_R50.yaml",
    "detr": CONFIGS / "CUB" / "deformable_detr_R50_we_literal.yaml",
}
# Torchvision's engine has no CLN
BUILDABLE = [(e, d) for e in ENGINES for d in DETECTORS if (e, d) != ("torchvision", "cln")]
ONE_ANCHOR = {  # per location, as CLN has
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[32]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]",
}
EVALUATION_FILES = {
    *("detections.json", "metrics.json", "per_image.parquet"),
    *("results.md", "results.csv", "results.tex", "recall_curve.csv"),
}
# One test set without pseudo boxes, one with
TWO_TESTS = {"DATASETS.TEST": "('toy_test', 'toy_test_c2am')"}
RESIZE, CROP = 64, 56
TINY = {
    "DATASETS.TRAIN": "('toy_train_c2am',)",
    "DATASETS.TEST": "('toy_test',)",
    "DATALOADER.NUM_WORKERS": "0",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_small_cnn_backbone",
    "WEND.SMALL_CNN.CHANNELS": "(32, 32, 32)",
    "WEND.FCOS.IN_FEATURES": "('stage3',)",
    "WEND.SCR.IN_FEATURE": "stage3",
    "WEND.SCR.HIDDEN_DIM": "64",
    "WEND.DETR.IN_FEATURES": "('stage2', 'stage3')",
    "WEND.DETR.NUM_FEATURE_LEVELS": "3",
    "WEND.DETR.NUM_QUERIES": "6",
    "WEND.DETR.HIDDEN_DIM": "64",
    "WEND.DETR.ENC_LAYERS": "2",
    "WEND.DETR.DEC_LAYERS": "2",
    "WEND.DETR.FFN_DIM": "128",
    "WEND.DETR.DROPOUT": "0.0",
    "MODEL.RPN.IN_FEATURES": "('stage3',)",
    "MODEL.ROI_HEADS.IN_FEATURES": "('stage3',)",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 32, 48]]",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "3",
    "WEND.RESIZE": str(RESIZE),
    "WEND.CROP": str(CROP),
    "WEND.EPOCHS": "2",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.BASE_LR": "0.01",
    "SOLVER.WARMUP_ITERS": "2",
    "SEED": "1",
}


def options(changes: Mapping[str, str] | None = None) -> list[str]:
    """KEY VALUE ... of the tiny config with some entries changed."""
    return [text for pair in {**TINY, **(changes or {})}.items() for text in pair]


def run(
    engine: str,
    output_dir: Path,
    *flags: str,
    detector: str = "fcos",
    changes: Mapping[str, str] | None = None,
) -> int:
    """Exit status of ``train_net.py`` with the tiny config, in this process.

    A ``--config-file`` among the ``flags`` comes instead of the detector's.
    """
    chosen = options({**(changes or {}), "OUTPUT_DIR": str(output_dir)})
    file = () if "--config-file" in flags else ("--config-file", str(DETECTORS[detector]))
    with kept_logging():
        return main(["--engine", engine, *file, *flags, *chosen])


def go_on(engine: str, checkpoint: Path, output_dir: Path, *flags: str, **options) -> int:
    """Exit status of :func:`run` with ``--resume``, in a new folder that has this checkpoint."""
    output_dir.mkdir()
    (output_dir / checkpoint.name).write_bytes(checkpoint.read_bytes())
    (output_dir / "last_checkpoint").write_text(checkpoint.name)
    return run(engine, output_dir, "--resume", *flags, **options)


def assert_refused(
    engine: str, override: str, message: str, output_dir: Path, capsys, detector: str = "fcos"
) -> None:
    """``KEY VALUE`` ends in one line that holds the message, and leaves no OUTPUT_DIR."""
    key, value = override.split(" ", 1)
    assert run(engine, output_dir, detector=detector, changes={key: value}) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not output_dir.exists()


def file_config(engine: str, path: Path, overrides: list[str]):
    """A file of configs/ with ``KEY VALUE`` overrides, read as ``train_net.py`` reads it."""
    if engine == "detectron2":
        from wend.d2.run import read_config
    else:
        from wend.tv.run import read_config
    return read_config(str(path), overrides)


def config(engine: str, detector: str = "fcos", changes: Mapping[str, str] | None = None):
    """The tiny config of a detector of :data:`DETECTORS`; unlike a run's it is not checked."""
    from wend.config import add_wend_config, merge_config

    if engine == "detectron2":
        from detectron2.config import get_cfg

        cfg = get_cfg()
        add_wend_config(cfg)
    else:
        from wend.tv.config import get_cfg

        cfg = get_cfg()
    merge_config(cfg, str(DETECTORS[detector]), options(changes), "")
    return cfg


d2_config = partial(config, "detectron2")
tv_config = partial(config, "torchvision")


@contextmanager
def without_memory() -> Iterator[None]:
    """What is built inside is on the device "meta", and nothing draws its initial values."""
    with torch.device("meta"), Undrawn():
        yield


def build(engine: str, cfg) -> torch.nn.Module:
    """The detector that a config describes, with initial values of seed 0, in training."""
    if engine == "detectron2":
        from detectron2.modeling import build_model

        import wend.d2  # noqa: F401  (registers detectors)
    else:
        from wend.tv.models import build_model
    torch.manual_seed(0)
    return build_model(cfg).train()


def untrained(engine: str, name: str, changes: Mapping[str, str] | None = None) -> tuple:
    """A config and its detector, in evaluation; its head's weights are drawn wider than they start,
    so that scores and boxes differ.
    """
    cfg = config(engine, name, {**(changes or {}), **(ONE_ANCHOR if name == "cln" else {})})
    model = build(engine, cfg)
    generator = torch.Generator().manual_seed(1)
    words = ("cls", "class", "bbox", "ctr", "logits", "fc2", "deltas", "iou")
    for parameter_name, parameter in model.named_parameters():
        if any(word in parameter_name for word in words):
            spread = 0.3 if "bias" in parameter_name else 0.05
            parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    return cfg, model.eval()


def optimizer(engine: str, cfg, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The optimizer that the engine's training makes."""
    if engine == "detectron2":
        from wend.d2.trainer import Trainer

        return Trainer.build_optimizer(cfg, model)
    from wend.tv.engine import build_optimizer

    return build_optimizer(cfg, model)


def random_crops(count: int, boxes_each: tuple[int, ...], seed: int = 0) -> list[tuple]:
    """Pairs of an image (3, CROP, CROP) in 0..255 and boxes (P, 4) inside it, at least 8 wide."""
    generator = torch.Generator().manual_seed(seed)
    crops = []
    for index in range(count):
        image = torch.randint(0, 256, (3, CROP, CROP), generator=generator, dtype=torch.uint8)
        number = boxes_each[index % len(boxes_each)]
        corner = torch.rand(number, 2, generator=generator) * (CROP - 32)
        size = 8 + torch.rand(number, 2, generator=generator) * 24
        crops.append((image, torch.cat([corner, corner + size], 1)))
    return crops


def d2_inputs(crops: list[tuple]) -> list[dict]:
    """Pairs of an image and its boxes (P, 4) as Detectron2's mapper hands them to a detector."""
    from detectron2.structures import Boxes, Instances

    batch = []
    for image, boxes in crops:
        height, width = image.shape[-2:]
        instances = Instances((height, width), gt_boxes=Boxes(boxes))
        instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        batch.append({"image": image, "height": height, "width": width, "instances": instances})
    return batch


def d2_batch(boxes_each: tuple[int, ...] = (1, 2, 0)) -> list[dict]:
    """Three of :func:`random_crops` as Detectron2's mapper hands them to a detector."""
    return d2_inputs(random_crops(3, boxes_each))


def losses(
    engine: str,
    model: torch.nn.Module,
    crops: list[tuple],
    image_ids=None,
    *,
    scores=None,
    teacher=None,
) -> dict:
    """Loss terms of a detector in training on crops: pairs of an image and boxes (P, 4).

    ``scores`` of the boxes and a ``teacher``'s boxes and scores come for each image.
    """
    more = {"image_id": image_ids, "teacher": teacher}
    more = [
        {name: values[i] for name, values in more.items() if values is not None}
        for i in range(len(crops))
    ]
    if engine == "detectron2":
        from detectron2.utils.events import EventStorage

        inputs = d2_inputs(crops)
        for entry, score in zip(inputs, scores or (), strict=scores is not None):
            entry["instances"].gt_scores = score
        with EventStorage():
            return model([{**entry, **each} for entry, each in zip(inputs, more, strict=True)])
    label = model.foreground_label
    targets = [
        {"boxes": boxes, "labels": torch.full((len(boxes),), label, dtype=torch.int64), **each}
        for (_, boxes), each in zip(crops, more, strict=True)
    ]
    for target, score in zip(targets, scores or (), strict=scores is not None):
        target["scores"] = score
    return model([image.float() for image, _ in crops], targets)


@torch.no_grad()
def detections(engine: str, model: torch.nn.Module, crops: list[tuple]) -> list[tuple]:
    """For each image boxes (P, 4) and scores (P,) of a detector in evaluation."""
    if engine == "detectron2":
        instances = [output["instances"] for output in model(d2_inputs(crops))]
        return [(image.pred_boxes.tensor, image.scores) for image in instances]
    outputs = model([image.float() for image, _ in crops])
    return [(output["boxes"], output["scores"]) for output in outputs]


@pytest.fixture(scope="session", autouse=True)
def _hung_workers():
    """A loader that an error ends waits 5 seconds for a worker that hangs before it ends that."""
    before, _utils.MP_STATUS_CHECK_INTERVAL = _utils.MP_STATUS_CHECK_INTERVAL, 0.3
    yield
    _utils.MP_STATUS_CHECK_INTERVAL = before


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The models are tiny: more threads only wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _toy_datasets(toy_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))


@pytest.fixture(autouse=True)
def _own_loggers():
    with kept_logging():
        yield
