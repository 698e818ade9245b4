"""The files of a run's folder (OUTPUT_DIR) by name, for whoever writes, reads or looks for them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from wend.errors import InputError, shown
from wend.files import is_number, read_json

CONFIG_FILE = "config.yaml"
FINAL_WEIGHTS, WEIGHTS = "model_final.pth", "model_*.pth"
BEST_WEIGHTS = "model_best.pth"
TENSORS = ".safetensors"  # the ending of the file that lies beside those two: weights alone
LAST_CHECKPOINT = "last_checkpoint"  # names the newest of the weights, for whoever looks for it
LOSSES_FILE = "metrics.json"  # a JSON object a line, as Detectron2 writes it
CURVE_FILE = "curve.csv"
MACHINE_FILE = "machine.json"
FIRST_EPOCH_FILE = "first_epoch.json"
EVALUATIONS = "inference"  # a folder with one for each data set
REFERENCE_FILE = "reference.json"  # data set -> what its true boxes are, where they are no truth
ADVICE_FILE = "advice.json"  # the score from which boxes are worth showing
# What a training adds lines to: its folder would else hold those of two runs
LOGS = (LOSSES_FILE, CURVE_FILE, "log.txt", "log.txt.rank*", "events.out.tfevents.*")
# What a training leaves, as patterns
TRAINING_FILES = (
    *(CONFIG_FILE, MACHINE_FILE, FIRST_EPOCH_FILE, *LOGS, EVALUATIONS),
    *(LAST_CHECKPOINT, WEIGHTS, f"model_*{TENSORS}"),
)
_PERIODIC = re.compile(r"model_([0-9]{7,})\.pth")  # as fvcore's PeriodicCheckpointer names them


def evaluation_folder(output_dir: str | Path, data_set: str) -> Path:
    """The folder of a run's evaluation on a data set, by the data set's own name."""
    return Path(output_dir) / EVALUATIONS / data_set


def periodic_checkpoints(folder: str | Path) -> dict[int, Path]:
    """Iteration -> the checkpoint that a training saved after it, in their order."""
    matches = ((_PERIODIC.fullmatch(path.name), path) for path in Path(folder).glob(WEIGHTS))
    files = {int(match[1]): path for match, path in matches if match and path.is_file()}
    return dict(sorted(files.items()))


def checkpoint_files(folder: str | Path) -> list[Path]:
    """The checkpoints of a run's folder: periodic ones, the best, the last, and the noted one.

    Those that are the more finished come later; whether they are whole is not looked at.
    """
    folder = Path(folder)
    named = [folder / name for name in (BEST_WEIGHTS, FINAL_WEIGHTS)]
    files = [*periodic_checkpoints(folder).values(), *(path for path in named if path.is_file())]
    noted = noted_checkpoint(folder)
    return files if noted is None or noted in files else [noted, *files]


def noted_checkpoint(folder: str | Path) -> Path | None:
    """The file that ``last_checkpoint`` names; None where it names no file of the folder.

    A training that was killed may leave an earlier note, and one of another program's any.
    """
    note = Path(folder) / LAST_CHECKPOINT
    try:
        name = note.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    is_name = name not in ("", ".", "..") and "\0" not in name and Path(name).name == name
    # unlike Path.is_file, false of a name that is too long
    return note.with_name(name) if is_name and os.path.isfile(note.with_name(name)) else None


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """An object of a JSON file; empty where there is no file.

    Args:
        expected: what the file should hold, for the message.

    Raises:
        InputError: the file holds something else.
    """
    if not path.is_file():
        return {}
    content = read_json(path, expected)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected {expected}, an object, got {shown(content)}")
    return content


def read_advice(output_dir: str | Path) -> dict[str, Any]:
    """What a run advises: ``min_score``, below which boxes are better left out, and more about it.

    Returns:
        The object that ``wend auto`` wrote; empty where it wrote none.

    Raises:
        InputError: the file is no object with a number ``min_score``.
    """
    path = Path(output_dir) / ADVICE_FILE
    advice = read_object(path, "a score threshold, min_score")
    if advice and not is_number(advice.get("min_score")):
        raise InputError(
            f"{path}: expected a number min_score, got {shown(advice.get('min_score'))}"
        )
    return advice
