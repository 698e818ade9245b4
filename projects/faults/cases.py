"""What is trained: tiny detectors on a toy set of 48 px, thirty steps, an evaluation each six."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from wend.datasets.toy import ToyConfig, write_toy

TOY = ToyConfig(num_train=44, num_test=20, num_classes=3, image_size=(48, 48))
EPOCH = 6  # steps: 44 images in batches of 8
EPOCHS = 5
STEPS = EPOCH * EPOCHS
ENGINES = ("detectron2", "torchvision")
DETECTORS = {
    "fcos": "CUB/fcos_R50_we_literal",
    "rcnn": "CUB/faster_rcnn_R50_we_literal",
    "cln": "CUB/cln_R50_we_literal",
    "scr": "CUB/scr_R50",
    "detr": "CUB/deformable_detr_R50_we_literal",
}
ONE_ANCHOR = {
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[32]]",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": "[[1.0]]",
}
TINY = {
    "DATASETS.TRAIN": "('toy_train_c2am',)",
    "DATASETS.TEST": "('toy_test_c2am',)",
    "DATALOADER.NUM_WORKERS": "0",
    "MODEL.DEVICE": "cpu",
    "MODEL.WEIGHTS": "",
    "MODEL.BACKBONE.NAME": "build_small_cnn_backbone",
    "WEND.SMALL_CNN.CHANNELS": "(8, 16, 32)",
    "WEND.FCOS.IN_FEATURES": "('stage3',)",
    "WEND.SCR.IN_FEATURE": "stage3",
    "WEND.SCR.HIDDEN_DIM": "64",
    "WEND.DETR.IN_FEATURES": "('stage2', 'stage3')",
    "WEND.DETR.NUM_FEATURE_LEVELS": "3",
    "WEND.DETR.NUM_QUERIES": "6",
    "WEND.DETR.HIDDEN_DIM": "64",
    "WEND.DETR.ENC_LAYERS": "1",
    "WEND.DETR.DEC_LAYERS": "2",
    "WEND.DETR.FFN_DIM": "64",
    "WEND.DETR.DROPOUT": "0.1",
    "MODEL.RPN.IN_FEATURES": "('stage3',)",
    "MODEL.ROI_HEADS.IN_FEATURES": "('stage3',)",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 32, 48]]",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "3",
    "WEND.RESIZE": "56",
    "WEND.CROP": "48",
    "WEND.EPOCHS": str(EPOCHS),
    "WEND.TEST_BATCH": "8",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.BASE_LR": "0.01",
    "SOLVER.WARMUP_ITERS": "2",
    "SEED": "1",
}


@dataclass(frozen=True)
class Case:
    """A training: its command but for the folder.

    Args:
        engine, detector: which.
        processes: of ``--num-gpus``.
        changes: entries other than those of the tiny config.
    """

    engine: str
    detector: str = "fcos"
    processes: int = 1
    changes: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, folder: Path, *flags: str, verb: bool = True) -> list[str]:
        """The words after ``wend``, or after ``wend train``."""
        one_anchor = ONE_ANCHOR if self.detector == "cln" else {}
        options = {**TINY, **one_anchor, **self.changes, "OUTPUT_DIR": str(folder)}
        several = ["--num-gpus", str(self.processes)] if self.processes > 1 else []
        return [
            *(["train"] if verb else []),
            *("--engine", self.engine, *several),
            *("--config-file", DETECTORS[self.detector]),
            *flags,
            *(text for pair in options.items() for text in pair),
        ]

    def but(self, **changes: str) -> Case:
        """The same with further changes, ``.`` as ``__``."""
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        return replace(self, changes={**self.changes, **dotted})

    def __str__(self) -> str:
        words = [self.engine, self.detector]
        if workers := self.changes.get("DATALOADER.NUM_WORKERS"):
            words.append(f"{workers} workers")
        if self.processes > 1:
            words.append(f"{self.processes} processes")
        words += [name for key, name in (("WEND.EMA.DECAY", "EMA"),) if key in self.changes]
        return " ".join(words)


TWO_WORKERS = {"DATALOADER.NUM_WORKERS": "2"}
EMA = {"WEND.EMA.DECAY": "0.9"}
CASES = (  # kills are dealt out to them in turn
    Case("detectron2", "fcos"),
    Case("torchvision", "rcnn"),
    Case("detectron2", "rcnn", changes=TWO_WORKERS),
    Case("torchvision", "fcos", changes=EMA),
    Case("detectron2", "detr"),
    Case("torchvision", "scr", changes=TWO_WORKERS),
    Case("detectron2", "cln", changes=EMA),
    Case("torchvision", "detr"),
)


def write_data(root: Path) -> tuple[str, ...]:
    """The toy set below a datasets root; the names of its test images' files."""
    write_toy(root / "toy", TOY)
    lists = root / "toy" / "CUB_200_2011"
    images = dict(line.split() for line in (lists / "images.txt").read_text().splitlines())
    split = dict(line.split() for line in (lists / "train_test_split.txt").read_text().splitlines())
    return tuple(sorted(Path(path).name for i, path in images.items() if split[i] == "0"))
