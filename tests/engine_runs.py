"""What the tests of both engines share: a tiny config, and runs through the front door."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from wend.cli.train import main

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs"
CONFIG_FILES = sorted(CONFIGS.rglob("*.yaml"))
# Base files name no detector and cannot be built
DETECTOR_CONFIGS = [path for path in CONFIG_FILES if not path.name.startswith("Base-")]
CONFIG_IDS = [str(path.relative_to(CONFIGS)) for path in DETECTOR_CONFIGS]
DETECTORS = {
    "fcos": CONFIGS / "CUB" / "fcos_R50_we.yaml",
    "rcnn": CONFIGS / "CUB" / "faster_rcnn_R50_we.yaml",
    "cln": CONFIGS / "CUB" / "cln_R50_we.yaml",
    "scr": CONFIGS / "CUB" / "scr_R50.yaml",
    "detr": CONFIGS / "CUB" / "deformable_detr_R50_we.yaml",
}
EVALUATION_FILES = {
    *("detections.json", "metrics.json", "per_image.parquet"),
    *("results.md", "results.csv", "results.tex", "recall_curve.csv"),
}
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


@contextmanager
def kept_logging() -> Iterator[None]:
    """Undo what a run does to the loggers: they belong to the process, tests to nobody."""
    names = ("wend", "fvcore", "fvcore.common.checkpoint", "detectron2")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.handlers[:], one.propagate, one.level) for one in loggers]
    try:
        yield
    finally:
        for one, (handlers, propagate, level) in zip(loggers, before, strict=True):
            one.handlers[:] = handlers
            one.propagate = propagate
            one.setLevel(level)


def run(
    engine: str,
    output_dir: Path,
    *flags: str,
    detector: str = "fcos",
    changes: Mapping[str, str] | None = None,
) -> int:
    """Exit status of ``train_net.py`` with the tiny config, in this process.

    ``flags`` come later than ours, so that a ``--config-file`` among them counts.
    """
    chosen = options({**(changes or {}), "OUTPUT_DIR": str(output_dir)})
    arguments = ["--engine", engine, "--config-file", str(DETECTORS[detector])]
    with kept_logging():
        return main([*arguments, *flags, *chosen])


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


def d2_config(detector: str = "fcos", changes: Mapping[str, str] | None = None):
    """Detectron2's config, read as ``train_net.py`` reads it."""
    from detectron2.config import get_cfg

    from wend.config import add_wend_config, merge_config

    cfg = get_cfg()
    add_wend_config(cfg)
    merge_config(cfg, str(DETECTORS[detector]), options(changes), "")
    return cfg


def tv_config(detector: str = "fcos", changes: Mapping[str, str] | None = None):
    """The torchvision engine's config, read as ``train_net.py`` reads it."""
    from wend.config import merge_config
    from wend.tv.config import get_cfg

    cfg = get_cfg()
    merge_config(cfg, str(DETECTORS[detector]), options(changes), "")
    return cfg


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


def finished_run(engine: str, toy_root: Path, output_dir: Path) -> Path:
    """OUTPUT_DIR of two epochs of FCOS + WE, for a session fixture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(toy_root.parent))
        assert run(engine, output_dir) == 0
    return output_dir
