"""Records what the project gives for fixed inputs, so that a later commit can be compared.

    python tests/golden/record.py OUT [--shared ../shared] [--checkpoint-from EARLIER_OUT]

Run it from the root of a checkout; that checkout is what is recorded. ``compare.py`` compares two
records, and ``README.md`` says what equal records prove. A command or a part that fails is written
down as a file ``<topic>/<name>.failed.txt`` and the record goes on; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from inputs import (
    BUILT_IN,
    DECLARATIONS,
    NUM_CUB_CLASSES,
    NUM_TOY_CLASSES,
    Lists,
    toy_test_images,
    write_class_predictions,
    write_detections,
    write_json,
    write_lines,
    write_scores,
    write_small_sets,
    write_text,
)

# ---- The adapter: whatever is imported from the project stands here, and is imported when it is
# ---- called. When a refactoring moves modules, this section is all that has to follow.

OWN_SOURCE = '''"""A box source of the user's own, as docs/pseudo_boxes.md describes one."""
from wend.pseudo_boxes import PseudoBoxes


def read_lines(path, separator=";"):
    boxes = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        image, *numbers = line.split(separator)
        boxes.setdefault(image, []).append([float(number) for number in numbers])
    return PseudoBoxes.from_dict(boxes, frame="pixel", source=str(path))
'''


def read_data_set(name: str) -> tuple[list[dict], bool, str]:
    """The records of a data set as plain values, whether they come from an imported store, and
    which boxes a detector is trained on: "pseudo_boxes" or "gt_boxes"."""
    from wend.datasets.catalog import DataSets

    data_set = DataSets().get(name)
    rows = [
        {
            "image_id": record.image_id,
            "file_name": record.file_name,
            "key": record.key,
            "width": int(record.width),
            "height": int(record.height),
            "class_id": None if record.class_id is None else int(record.class_id),
            "gt_boxes": np.asarray(record.gt_boxes, dtype=np.float64).tolist(),
            "pseudo_boxes": np.asarray(record.pseudo_boxes, dtype=np.float64).tolist(),
        }
        for record in data_set
    ]
    return rows, data_set.reopen is not None, data_set.train_on


def join_source(spec: Mapping[str, object], name: str, root: Path) -> dict:
    """The report of a join of a box source with a data set, and the boxes of each image."""
    from wend.datasets.catalog import DataSets
    from wend.pseudo_boxes import attach_pseudo_boxes, read_boxes

    boxes = read_boxes(spec, base=root, root=root)
    data_set, report = attach_pseudo_boxes(DataSets().get(name), boxes, log=False)
    table = data_set.pseudo_boxes
    return {
        "report": report.to_dict(),
        "table": str(report).splitlines(),
        "keys": list(data_set.keys),
        "offsets": table.offsets.tolist(),
        "boxes": table.boxes.tolist(),
        "scores": None if table.scores is None else table.scores.tolist(),
    }


def read_config(engine: str, path: Path, options: Sequence[str]):
    """A config file with overrides, as the engine reads it."""
    if engine == "detectron2":
        from wend.d2.run import read_config as read
    else:
        from wend.tv.run import read_config as read
    return read(str(path), options)


def build_detector(engine: str, cfg):
    """The detector of a config, with freshly drawn weights."""
    if engine == "detectron2":
        from detectron2.modeling import build_model
    else:
        from wend.tv.models import build_model
    return build_model(cfg)


def detector_losses(engine: str, model, crops: Sequence[tuple]) -> dict:
    """The loss terms of a batch of (image, boxes)."""
    import torch

    if engine == "detectron2":
        from detectron2.structures import Boxes, Instances
        from detectron2.utils.events import EventStorage

        batch = []
        for image, boxes in crops:
            size = tuple(image.shape[1:])
            instances = Instances(size, gt_boxes=Boxes(boxes))
            instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
            row = {"image": image, "height": size[0], "width": size[1], "instances": instances}
            batch.append(row)
        with EventStorage():
            return model(batch)
    label = model.foreground_label
    targets = [{"boxes": b, "labels": torch.full((len(b),), label)} for _, b in crops]
    return model([image.float() for image, _ in crops], targets)


def detector_boxes(engine: str, model, images: Sequence) -> list[tuple]:
    """Boxes and scores that the detector predicts for each image."""
    if engine == "detectron2":
        sizes = [tuple(image.shape[1:]) for image in images]
        batch = [
            {"image": image, "height": h, "width": w}
            for image, (h, w) in zip(images, sizes, strict=True)
        ]
        outputs = [row["instances"] for row in model(batch)]
        return [(output.pred_boxes.tensor, output.scores) for output in outputs]
    outputs = model([image.float() for image in images])
    return [(output["boxes"], output["scores"]) for output in outputs]


# ---- End of the adapter

CONFIGS = "configs"
DEMO = f"{CONFIGS}/demo.yaml"
HERE = Path(__file__).resolve()
PRESETS = ("psol-crop224", "original", "tscam-squash224", "wsoleval-v1", "wsoleval-v2")
PRESETS += ("psol-first-box",)
TOY = ("--num-train", "24", "--num-test", "12", "--num-classes", str(NUM_TOY_CLASSES))
TOY += ("--image-size", "48", "72")
TEXT = (".json", ".jsonl", ".csv", ".md", ".tex", ".txt", ".yaml")
TIMES = ("time", "data_time", "eta_seconds", "rank_data_time")  # what metrics.json has of time
CLEARED = ("DETECTRON2_DATASETS", "WEND_DATASETS", "WEND_STORES")
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def write_canonical(path: Path, content: object) -> Path:
    """Write JSON with sorted keys, one value a line; floats have all their digits."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=True)
    return write_text(path, text + "\n")


def engines() -> list[str]:
    """The engines that can be run here."""
    has_detectron2 = importlib.util.find_spec("detectron2") is not None
    return ["torchvision", "detectron2"] if has_detectron2 else ["torchvision"]


class Recorder:
    """Runs commands in a work folder and copies chosen files into the record.

    Args:
        out: folder of the record.
        work: new empty folder; commands run there and name everything relative to it.
        root: the checkout.
        shared: the reference data.
        earlier: an earlier record, whose ``inputs/`` are used again, or None.
    """

    def __init__(
        self, out: Path, work: Path, root: Path, shared: Path, earlier: Path | None
    ) -> None:
        self.out, self.work, self.root, self.shared, self.earlier = out, work, root, shared, earlier
        self.failures: list[str] = []
        (work / "shared").symlink_to(shared)
        self.environment = {k: v for k, v in os.environ.items() if k not in CLEARED}
        self.environment |= dict.fromkeys(ONE_THREAD, "1")
        self.environment |= {
            "PYTHONPATH": str(root),
            "CUDA_VISIBLE_DEVICES": "",
            "LC_ALL": "C.UTF-8",
        }
        self.environment |= {"PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
        self.hidden = [(str(path), name) for path, name in ((work, "WORK"), (shared, "SHARED"))]
        self.hidden.append((str(root), "ROOT"))

    def clean(self, data: bytes) -> bytes:
        """Text without the paths of this machine."""
        for path, name in self.hidden:
            data = data.replace(path.encode(), name.encode())
        return data

    def fail(self, topic: str, name: str, text: str) -> None:
        """Write down that something failed."""
        self.failures.append(f"{topic}/{name}")
        say(f"FAILED: {topic}/{name}\n{text}")
        last = text.strip().splitlines()[-1:]
        write_lines(
            self.out / topic / f"{name}.failed.txt", [self.clean(t.encode()).decode() for t in last]
        )

    def run(self, topic: str, name: str, *command: str, expected: int = 0, **more: str) -> bool:
        """Run a Python command in the work folder; whether it ended as expected.

        Args:
            command: what stands behind ``python``.
            expected: exit status.
            more: further environment variables.
        """
        say(f"$ python {' '.join(command)}")
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        say(f"{done.stdout}[{time.perf_counter() - start:.1f} s, exit status {done.returncode}]\n")
        if done.returncode != expected:
            self.fail(topic, name, f"exit status {done.returncode}, expected {expected}")
        return done.returncode == expected

    def wend(self, topic: str, name: str, *arguments: str, expected: int = 0, **more: str) -> bool:
        """Run ``python -m wend ...``; see :meth:`run`."""
        return self.run(topic, name, "-m", "wend", *arguments, expected=expected, **more)

    def part(self, topic: str, name: str, **more: str) -> bool:
        """Run a part that imports the project, in a process of its own; keep what it writes."""
        script = [str(HERE), "--part", name, "--root", str(self.root)]
        worked = self.run(topic, name, *script, **more)
        self.keep_folder(f"parts/{name}", topic)
        return worked

    def keep(self, source: str, place: str) -> None:
        """Copy a file of the work folder into the record, if it is there."""
        path, target = self.work / source, self.out / place
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            target.write_bytes(self.clean(data) if path.suffix in TEXT else data)

    def keep_folder(self, source: str, place: str) -> None:
        """Copy all files in and below a folder of the work folder into the record."""
        for path in sorted((self.work / source).rglob("*")):
            relative = path.relative_to(self.work / source)
            self.keep(f"{source}/{relative}", f"{place}/{relative}")

    def input_file(self, name: str, make: Callable[[Path], object]) -> str:
        """A file that later records use again: of the earlier record, else made now.

        Returns:
            Its path in the work folder; a copy is in the record.
        """
        path = self.work / "inputs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.earlier is not None:
            shutil.copyfile(self.earlier / "inputs" / name, path)
        else:
            make(path)
        self.keep(f"inputs/{name}", f"inputs/{name}")
        return f"inputs/{name}"


# ---- Topics


def record_engines(rec: Recorder) -> None:
    """Train, evaluate the fixed checkpoint and look at the run, on each engine."""
    names, classes = toy_test_images(rec.work / "data/toy")
    write_class_predictions(rec.work / "toy_classes.json", names, classes, NUM_TOY_CLASSES, seed=4)
    for engine in engines():
        options = ["SEED", "1", "MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0"]
        options += ["SOLVER.IMS_PER_BATCH", "4", "WEND.EPOCHS", "10", "SOLVER.WARMUP_ITERS", "5"]
        options += ["WEND.SMALL_CNN.CHANNELS", "(32, 32, 32)"]
        options += ["WEND.PROTOCOLS", str(PRESETS)]
        command = ["train", "--engine", engine, "--config-file", str(rec.root / DEMO)]
        command += ["--datasets-root", "data"]
        topic, run = f"engines/{engine}", f"runs/{engine}"
        if not rec.wend(topic, "train", *command, *options, "OUTPUT_DIR", run):
            continue
        _keep_training(rec, run, f"{topic}/training")
        rec.wend(topic, "report", "report", run, "--datasets-root", "data")
        for name in ("report.md", "curve.png", "boxes_toy_test_c2am.png"):
            rec.keep(f"{run}/{name}", f"{topic}/report/{name}")
        trained = rec.work / run / "model_final.pth"
        weights = rec.input_file(
            f"checkpoint_{engine}.pth", lambda path, trained=trained: shutil.copyfile(trained, path)
        )
        evaluated = f"runs/{engine}_evaluation"
        fixed = ["MODEL.WEIGHTS", weights, "WEND.CLASS_PREDICTIONS", "toy_classes.json"]
        fixed += ["OUTPUT_DIR", evaluated]
        rec.wend(topic, "eval_only", *command, "--eval-only", *options, *fixed)
        rec.keep_folder(f"{evaluated}/inference", f"{topic}/evaluation")
        if engine == "torchvision":  # from a cache of images the training must be the same
            run, cached = f"runs/{engine}_cached", ["WEND.DATA.CACHE", "cache"]
            if rec.wend(topic, "cached", *command, *options, *cached, "OUTPUT_DIR", run):
                _keep_training(rec, run, f"{topic}/training_cached")


def _keep_training(rec: Recorder, run: str, place: str) -> None:
    """Keep a training's losses without times, its curve, its config and digests of its weights."""
    import torch

    for name in ("curve.csv", "config.yaml"):
        rec.keep(f"{run}/{name}", f"{place}/{name}")
    rec.keep_folder(f"{run}/inference", f"{place}/inference")
    rows = (rec.work / run / "metrics.json").read_text(encoding="utf-8").splitlines()
    lines = [{k: v for k, v in json.loads(row).items() if k not in TIMES} for row in rows]
    write_canonical(rec.out / place / "losses.json", lines)
    state = torch.load(rec.work / run / "model_final.pth", map_location="cpu", weights_only=True)
    digests = {name: _digest(value) for name, value in state["model"].items()}
    write_canonical(rec.out / place / "weights.json", _summary(digests))


def _digest(tensor) -> str:
    """SHA-256 of a tensor's type, shape and bytes."""
    array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    head = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def _summary(digests: Mapping[str, str]) -> dict:
    """Digests by name, and one digest of all values whatever their names and order."""
    values = hashlib.sha256("\n".join(sorted(digests.values())).encode()).hexdigest()
    return {"all values, whatever their names": values, "tensors": dict(digests)}


def record_evaluation(rec: Recorder) -> None:
    """Score drawn detections of CUB and ImageNet on the real lists, and compare two of CUB."""
    topic, metadata = "evaluation", "shared/data/wsol_metadata"
    cub, train = f"{metadata}/CUB/test", f"{metadata}/CUB/train"
    lists = Lists(rec.work / cub)
    keys = [name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1] for name in lists.names]
    write_detections(rec.work / "cub_a.json", lists, seed=1)
    write_detections(rec.work / "cub_b.parquet", lists, seed=2)
    write_class_predictions(rec.work / "cub_classes.json", keys, lists.classes, NUM_CUB_CLASSES, 3)
    with_classes = ["--class-predictions", "cub_classes.json", "--max-boxes", "1", "5", "all"]
    common = ["evaluate", "--analysis", "--export", "coco", "csv", "parquet"]
    arguments = ["--ground-truth", cub, "--detections", "cub_a.json", "--baseline-boxes", train]
    arguments += ["--protocol", *PRESETS, "--ap", *with_classes]
    rec.wend(topic, "cub", *common, *arguments, "--output", "evaluated/cub")
    rec.keep_folder("evaluated/cub", f"{topic}/cub")

    # the exported truth as a COCO JSON, Parquet detections, own protocol, given fixed boxes
    write_lines(rec.work / "left_out.txt", keys[:40])
    protocol = "name: own\nbase: tscam-squash224\nresize: 512\ncrop: 448\nclip_truth: none\n"
    protocol += "iou_threshold: [0.5, 0.75]\nstrict_classified: null\nblacklist: left_out.txt\n"
    write_text(rec.work / "own.yaml", protocol)
    write_json(rec.work / "fixed.json", [[0.1, 0.1, 0.9, 0.9], [0, 0, 1, 1], [0.3, 0.3, 0.7, 0.6]])
    arguments = ["--ground-truth", "evaluated/cub/ground_truth.json", "--detections"]
    arguments += ["cub_b.parquet", "--baseline-boxes", "fixed.json", "--protocol", "own.yaml"]
    arguments += ["original", "--outside", "clip", "--score-threshold", "0.2", *with_classes]
    rec.wend(topic, "cub_clipped", *common, *arguments, "--output", "evaluated/cub_clipped")
    rec.keep_folder("evaluated/cub_clipped", f"{topic}/cub_clipped")

    arguments = ["cub_a.json", "cub_b.parquet", "--ground-truth", cub, "--protocol", *PRESETS]
    arguments += [*with_classes, "--output", "evaluated/compare"]
    rec.wend(topic, "compare", "compare", *arguments)
    rec.keep_folder("evaluated/compare", f"{topic}/compare")

    imagenet = f"{metadata}/ILSVRC/test"
    write_detections(rec.work / "imagenet.json", Lists(rec.work / imagenet), seed=6)
    arguments = ["--ground-truth", imagenet, "--detections", "imagenet.json"]
    arguments += ["--baseline-boxes", train, "--protocol", *PRESETS]
    rec.wend(topic, "imagenet", *common, *arguments, "--output", "evaluated/imagenet")
    rec.keep_folder("evaluated/imagenet", f"{topic}/imagenet")


def record_readers(rec: Recorder) -> None:
    """Read each kind of data set and box source, import the data sets and read them again."""
    topic = "readers"
    here = {"DETECTRON2_DATASETS": "data"}
    cub10 = {"DETECTRON2_DATASETS": "shared/data/cub10"}
    rec.part(topic, "records", **here)
    rec.part(topic, "records_cub10", **cub10)
    rec.part(topic, "joins", **here)
    stores = {"WEND_STORES": "stores"}
    names = [*BUILT_IN, *(name for name in DECLARATIONS if name != "damaged")]
    rec.wend(topic, "import", "data", "import", *names, "--output", "stores", **here)
    imported = ("cub_train_c2am", "cub_test_c2am")
    rec.wend(topic, "import_cub10", "data", "import", *imported, "--output", "stores", **cub10)
    rec.part(topic, "stores", **here, **stores)
    rec.part(topic, "stores_cub10", **cub10, **stores)
    arguments = ["data", "check", "damaged", "--output", "problems.jsonl", "--workers", "1"]
    rec.wend(topic, "check", *arguments, expected=1, **here)
    rec.keep("problems.jsonl", f"{topic}/check/problems.jsonl")
    arguments = ["boxes", "report", "cub_train_c2am", "--protocol", *PRESETS]
    rec.wend(topic, "report_cub10", *arguments, "--output", "reports/cub10", **cub10)
    arguments = ["boxes", "report", "c2am", "data/boxes/c2am", "--dataset", "photos_coco"]
    arguments += ["--other", "coco", "data/boxes/set.json", "max_boxes=1"]
    rec.wend(topic, "report_photos", *arguments, "--output", "reports/photos", **here)
    rec.keep_folder("reports", f"{topic}/boxes_report")


def record_detectors(rec: Recorder) -> None:
    """Losses, gradients and predictions of each detector, and each config as it is read."""
    for engine in engines():
        rec.part("detectors", f"losses_{engine}")
        rec.part("detectors", f"configs_{engine}")


def record_classes_and_boxes(rec: Recorder) -> None:
    """Import class predictions, classify, and find boxes without labels."""
    topic, here = "classes_and_boxes", {"DETECTRON2_DATASETS": "data"}
    names, _ = toy_test_images(rec.work / "data/toy")
    for name, path in write_scores(rec.work / "scores", names).items():
        output = f"classes/{name}.json"
        arguments = [
            "classify",
            "--dataset",
            "toy_test",
            "--import",
            str(path.relative_to(rec.work)),
        ]
        rec.wend(topic, f"import_{name}", *arguments, "--output", output, **here)
    weights = rec.input_file("resnet18.pth", _write_resnet18)
    arguments = ["classify", "--dataset", "toy_test", "--model", "timm:resnet18", "--weights"]
    arguments += [weights, "--preprocessing", "canonical", "--resize-size", "72", "--crop-size"]
    arguments += ["64", "--ten-crop", "--num-workers", "0", "--batch-size", "5", "--device", "cpu"]
    rec.wend(topic, "classify", *arguments, "--output", "classes/classified.json", **here)
    rec.keep_folder("classes", f"{topic}/classes")

    common = ["pseudo-boxes", "--num-workers", "0", "--output"]
    arguments = ["boxes_border", "--method", "border", "--images", "data/cub12/images"]
    rec.wend(topic, "border", *common, *arguments, **here)
    arguments = ["boxes_ddt", "--method", "ddt", "--dataset", "cub12_train", "--backbone"]
    arguments += ["timm:resnet18", "--weights", weights, "--input-size", "96", "--group", "all"]
    rec.wend(topic, "ddt", *common, *arguments, "--device", "cpu", "--batch-size", "4", **here)
    for name in ("boxes_border", "boxes_ddt"):
        rec.keep_folder(name, f"{topic}/{name}")


def _write_resnet18(path: Path) -> None:
    import timm
    import torch

    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18", num_classes=NUM_TOY_CLASSES).state_dict(), path)


TOPICS: dict[str, Callable[[Recorder], None]] = {
    "engines": record_engines,
    "evaluation": record_evaluation,
    "readers": record_readers,
    "detectors": record_detectors,
    "classes_and_boxes": record_classes_and_boxes,
}


# ---- Parts: what imports the project. Each runs in a process of its own, in the work folder


def _dump(names: Sequence[str], folder: Path) -> None:
    """Write all records of data sets as JSON; file names relative to the data sets' folder."""
    root = os.environ["DETECTRON2_DATASETS"]
    for name in names:
        rows, stored, train_on = read_data_set(name)
        for row in rows:
            row["file_name"] = os.path.relpath(row["file_name"], root)
        content = {"from_store": stored, "trains_on": train_on, "records": rows}
        write_canonical(folder / f"{name}.json", content)


def part_records(folder: Path, root: Path) -> None:
    """The records of each small data set."""
    _dump([*BUILT_IN, *(name for name in DECLARATIONS if name != "damaged")], folder)


def part_records_cub10(folder: Path, root: Path) -> None:
    """The records of the ten classes of CUB with their pseudo boxes."""
    _dump(("cub_train", "cub_train_c2am", "cub_test_c2am"), folder)


def part_stores(folder: Path, root: Path) -> None:
    """The records of each small data set, from its store."""
    part_records(folder, root)


def part_stores_cub10(folder: Path, root: Path) -> None:
    """The records of the ten classes of CUB, from their stores."""
    _dump(("cub_train_c2am", "cub_test_c2am"), folder)


def part_joins(folder: Path, root: Path) -> None:
    """What each box source says of the photos."""
    data = Path(os.environ["DETECTRON2_DATASETS"])
    specs = json.loads((data / "boxes" / "specs.json").read_text(encoding="utf-8"))
    for name, spec in specs.items():
        write_canonical(folder / f"{name}.json", join_source(spec, "photos_coco", data))


TINY = {  # the tests' tiny detectors, tests/engine_runs.py
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_small_cnn_backbone",
    "WEND.SMALL_CNN.CHANNELS": "(32, 32, 32)",
    "WEND.FCOS.IN_FEATURES": "('stage3',)",
    "WEND.SCR.IN_FEATURE": "stage3",
    "WEND.SCR.HIDDEN_DIM": "64",
    "MODEL.RPN.IN_FEATURES": "('stage3',)",
    "MODEL.ROI_HEADS.IN_FEATURES": "('stage3',)",
    "MODEL.ANCHOR_GENERATOR.SIZES": "[[16, 32, 48]]",
    "MODEL.ROI_BOX_HEAD.FC_DIM": "32",
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": "3",
    "WEND.RESIZE": "64",
    "WEND.CROP": "56",
}
RESNET18 = {
    "MODEL.DEVICE": "cpu",
    "MODEL.RESNETS.DEPTH": "18",
    "WEND.RESIZE": "72",
    "WEND.CROP": "64",
}
PYRAMID = {"WEND.RESIZE": "144", "WEND.CROP": "128"}  # its coarsest level needs 128 pixels
WIDTHS = {"MODEL.RESNETS.RES2_OUT_CHANNELS": "64"}  # Detectron2 has to be told ResNet18's
ONE_ANCHOR = {"MODEL.ANCHOR_GENERATOR.SIZES": "[[24]]"}
SMALL_DETR = {
    "WEND.DETR.IN_FEATURES": "('stage2', 'stage3')",
    "WEND.DETR.NUM_FEATURE_LEVELS": "3",
    "WEND.DETR.NUM_QUERIES": "6",
    "WEND.DETR.HIDDEN_DIM": "64",
    "WEND.DETR.ENC_LAYERS": "2",
    "WEND.DETR.DEC_LAYERS": "2",
    "WEND.DETR.FFN_DIM": "128",
    "TEST.DETECTIONS_PER_IMAGE": "6",
    "WEND.MAX_BOXES": "5",
}
PLAIN: dict[str, dict[str, str]] = {"as_configured": {}}


def loss_variants(tau1: float, tau2: float) -> dict[str, dict[str, str]]:
    """Overrides for each unsupervised loss; the thresholds lie among the probabilities."""
    both_sides = {"WEND.TAU1": str(tau1), "WEND.TAU2": str(tau2), "WEND.GAMMA": "1.0"}
    return {
        **PLAIN,
        "none": {"WEND.LOSS": "none", "WEND.ETA": "1.0"},
        "entropy": {"WEND.LOSS": "entropy", "WEND.ETA": "0.25"},
        "both_sides": both_sides,
        "detached": both_sides | {"WEND.WE.WEIGHT_GRADIENT": "detach"},
    }


SCR_VARIANTS = {
    **PLAIN,
    "l1": {"WEND.SCR.LOSS": "l1", "WEND.SCR.LOSS_WEIGHT": "40.0", "WEND.ETA": "0.125"},
    "smooth_l1": {"WEND.SCR.LOSS": "smooth_l1"},
}
FCOS, RCNN = "CUB/fcos_R50_we_literal.yaml", "CUB/faster_rcnn_R50_we_literal.yaml"
BOTH = {  # detector -> config file, overrides, variants
    "fcos": (FCOS, TINY, loss_variants(0.012, 0.007)),
    "rcnn": (RCNN, TINY, loss_variants(0.52, 0.48)),
    "scr": ("CUB/scr_R50.yaml", TINY, SCR_VARIANTS),
    "detr": (
        "CUB/deformable_detr_R50_we_literal.yaml",
        TINY | SMALL_DETR,
        loss_variants(0.012, 0.008),
    ),
}
ONLY = {
    "torchvision": {
        "fcos_resnet18": (FCOS, RESNET18, PLAIN),
        "rcnn_resnet18": (RCNN, RESNET18, PLAIN),
    },
    "detectron2": {
        "cln": ("CUB/cln_R50_we_literal.yaml", TINY | ONE_ANCHOR, loss_variants(0.65, 0.58)),
        "fcos_resnet18": (FCOS, RESNET18 | WIDTHS, PLAIN),
        "rcnn_resnet18": (RCNN, RESNET18 | WIDTHS, PLAIN),
        "fcos_lean": ("CUB/fcos_R50_lean_we.yaml", TINY, PLAIN),
        "fcos_fpn": ("CUB/fcos_R50_FPN_we.yaml", RESNET18 | WIDTHS | PYRAMID, PLAIN),
        "rcnn_fpn": ("CUB/faster_rcnn_R50_FPN_we.yaml", RESNET18 | WIDTHS | PYRAMID, PLAIN),
    },
}


def draw_crops(side: int) -> list[tuple]:
    """Three images (3, side, side) in 0..255, with one, two and one boxes inside them."""
    import torch

    generator = torch.Generator().manual_seed(0)
    crops = []
    for number in (1, 2, 1):
        size = (3, side, side)
        image = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        corner = torch.rand(number, 2, generator=generator) * (side - 32)
        sides = 8 + torch.rand(number, 2, generator=generator) * 24
        crops.append((image, torch.cat([corner, corner + sides], 1)))
    return crops


def spread_weights(model, deviation: float) -> None:
    """Add noise to all weights, so that the probabilities are not those of the initial bias."""
    import torch

    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += deviation * torch.randn(parameter.shape, generator=generator)


def measure_detector(engine: str, path: Path, changes: Mapping[str, str]) -> dict:
    """Losses, sums of absolute gradients and predictions of a detector with seeded weights."""
    import torch

    options = [text for pair in changes.items() for text in pair]
    cfg = read_config(engine, path, options)
    torch.manual_seed(0)
    model = build_detector(engine, cfg).train()
    weights = _summary({name: _digest(value) for name, value in model.state_dict().items()})
    is_small = cfg.MODEL.BACKBONE.NAME == TINY["MODEL.BACKBONE.NAME"]
    spread_weights(model, 0.1 if is_small else 0.02)
    crops = draw_crops(int(cfg.WEND.CROP))
    torch.manual_seed(3)  # proposals are sampled
    losses = detector_losses(engine, model, crops)
    sum(losses.values()).backward()
    gradients: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            module = name.split(".")[0]
            total = parameter.grad.double().abs().sum().item()
            gradients[module] = gradients.get(module, 0.0) + total
    model.eval()
    with torch.no_grad():
        outputs = detector_boxes(engine, model, [image for image, _ in crops])
    return {
        "fresh weights": weights["all values, whatever their names"],
        "losses": {name: value.item().hex() for name, value in losses.items()},
        "gradients": {name: value.hex() for name, value in gradients.items()},
        "predictions": [
            {
                "boxes": [" ".join(value.hex() for value in box) for box in boxes.tolist()],
                "scores": [value.hex() for value in scores.tolist()],
            }
            for boxes, scores in outputs
        ],
    }


def _measure(engine: str, folder: Path, root: Path) -> None:
    """Measure each detector of an engine; one that fails ends the process after the others."""
    failed = False
    for name, (file, changes, variants) in {**BOTH, **ONLY[engine]}.items():
        for variant, more in variants.items():
            path = folder / f"{name}_{variant}.json"
            try:
                content = measure_detector(engine, root / CONFIGS / file, changes | more)
            except Exception as error:
                traceback.print_exc()
                content = {"failed": f"{type(error).__name__}: {error}"}
                failed = True
            write_canonical(path, content)
    if failed:
        sys.exit(1)


def part_losses_torchvision(folder: Path, root: Path) -> None:
    """The detectors of the torchvision engine."""
    _measure("torchvision", folder, root)


def part_losses_detectron2(folder: Path, root: Path) -> None:
    """The detectors of the Detectron2 engine."""
    _measure("detectron2", folder, root)


def _read_configs(engine: str, folder: Path, root: Path) -> None:
    """Write each config file as the engine reads it, or which error it ends in."""
    for path in sorted((root / CONFIGS).rglob("*.yaml")):
        try:
            text = read_config(engine, path, []).dump()
        except Exception as error:
            text = f"refused: {type(error).__name__}: {error}\n"
        write_text(folder / path.relative_to(root / CONFIGS), text)


def part_configs_torchvision(folder: Path, root: Path) -> None:
    """The configs of the torchvision engine."""
    _read_configs("torchvision", folder, root)


def part_configs_detectron2(folder: Path, root: Path) -> None:
    """The configs of the Detectron2 engine."""
    _read_configs("detectron2", folder, root)


def run_part(name: str, root: Path) -> int:
    """Run one part in the current folder; its files go to ``parts/<name>/<name>``."""
    import torch

    torch.set_num_threads(1)
    globals()[f"part_{name}"](Path("parts") / name / name, root)
    return 0


# ---- The command


def make_inputs(rec: Recorder) -> None:
    """Write the toy set with the project's command, and the small data sets and boxes."""
    rec.wend("toy", "toy", "toy", "data/toy", *TOY)
    files = [path for path in sorted((rec.work / "data/toy").rglob("*")) if path.is_file()]
    digests = {
        str(path.relative_to(rec.work / "data/toy")): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    write_canonical(rec.out / "toy" / "files.json", digests)
    cub = rec.work / "shared/data/cub10/CUB_200_2011"
    specs = write_small_sets(rec.work / "data", cub, OWN_SOURCE)
    write_json(rec.work / "data" / "boxes" / "specs.json", specs)


def find_paths(rec: Recorder) -> list[str]:
    """Files of the record that hold a path of this machine."""
    return [
        str(path.relative_to(rec.out))
        for path in sorted(rec.out.rglob("*"))
        if path.is_file() and any(hidden.encode() in path.read_bytes() for hidden, _ in rec.hidden)
    ]


def parse_arguments() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(description="Record outputs for fixed inputs.")
    parser.add_argument("out", nargs="?", help="new folder of the record")
    parser.add_argument("--shared", default="../shared", help="the reference data (../shared)")
    parser.add_argument(
        "--checkpoint-from", metavar="DIR", help="an earlier record whose checkpoints are evaluated"
    )
    parser.add_argument("--only", nargs="+", choices=TOPICS, metavar="TOPIC", help="some topics")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--root", default=".", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if (args.out is None) == (args.part is None):
        parser.error("name the folder OUT of the record")
    return args


def main() -> int:
    """Record all topics; returns the exit status."""
    args = parse_arguments()
    root = Path(args.root).resolve()
    if args.part:
        return run_part(args.part, root)
    out = Path(args.out).resolve()
    if not (root / "wend").is_dir():
        sys.exit(f"{root}: holds no folder wend; run this from the root of a checkout")
    if out.exists() and any(out.iterdir()):
        sys.exit(f"{out}: is not empty; name a new folder")
    shared = Path(args.shared).resolve()
    earlier = Path(args.checkpoint_from).resolve() if args.checkpoint_from else None
    out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="golden-") as work:
        rec = Recorder(out, Path(work).resolve(), root, shared, earlier)
        make_inputs(rec)
        for topic in args.only or TOPICS:
            begun = time.perf_counter()
            try:
                TOPICS[topic](rec)
            except Exception:
                rec.fail(topic, "topic", traceback.format_exc())
            say(f"---- {topic}: {time.perf_counter() - begun:.1f} s ----\n")
        leaks = find_paths(rec)
    say(f"{sum(path.is_file() for path in out.rglob('*'))} files in {out}")
    say(f"{time.perf_counter() - start:.0f} s, engines: {', '.join(engines())}")
    for name in rec.failures:
        say(f"failed: {name}")
    for name in leaks:
        say(f"holds a path of this machine: {name}")
    return 1 if rec.failures or leaks else 0


if __name__ == "__main__":
    sys.exit(main())
