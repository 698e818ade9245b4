"""What a training that goes on is asked for, compared with what its checkpoint was trained with.

Entries that cannot change its numbers are free. Any other makes the training that goes on another
one than the one that was interrupted, which is only done where it is meant (``--allow-changes``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from wend.config.detectron2_entries import DETECTRON2_NODES
from wend.config.node import wend_tables
from wend.errors import InputError, shown
from wend.training.facts import TRAINING_KEY, Asked
from wend.weight_files import ORIGIN_KEY, read_origin
from wend.yaml_files import leaves

# Where the run lies and runs, what it writes beside its checkpoints, whether it ends early, and
# entries whose content is compared instead of their text: data and the user's files by digests
FREE = (
    *("OUTPUT_DIR", "VIS_PERIOD", "MODEL.DEVICE", "MODEL.WEIGHTS", "DATALOADER.NUM_WORKERS"),
    *("SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD", "TEST.EXPECTED_RESULTS"),
    *("DATASETS.TRAIN", "DATASETS.TEST"),
    *("WEND.LOGGERS", "WEND.IMPORTS", "WEND.PROTOCOLS", "WEND.METRICS", "WEND.TEST_BATCH"),
    *("WEND.KEEP_BEST", "WEND.EARLY_STOPPING"),
    *("WEND.CHANNELS_LAST", "WEND.COMPILE", "CUDNN_BENCHMARK"),
    *("WEND.DATA.CACHE", "WEND.DATA.QUARANTINE", "WEND.DATA.IMPLAUSIBLE"),
    *("WEND.DATA.ON_BAD_IMAGE", "WEND.DATA.MAX_BAD_SHARE", "WEND.DATA.ON_BAD_TEST_IMAGE"),
    *("WEND.DATA.MAX_LOST_SHARE", "WEND.DATA.MAX_MEGAPIXELS"),
)
# What a detector is and what it sees of an image; of these nodes not what only its losses have, nor
# what chooses among its boxes
PREDICTS = (
    *("MODEL.", "INPUT.FORMAT", "WEND.VIEW", "WEND.RESIZE", "WEND.CROP", "WEND.FCOS."),
    *("WEND.RCNN.", "WEND.CLN.", "WEND.DETR.", "WEND.SCR.", "WEND.SMALL_CNN.", "WEND.TIMM."),
)
NOT_SEEN = (
    *("_TRAIN", "_TEST", "_WEIGHT", "POSITIVE_FRACTION", "BATCH_SIZE_PER_IMAGE", "RATIO"),
    *("IOU_THRESHOLDS", "FREEZE_AT", "INITIAL_DISTANCE"),
)
PRECISION = "WEND.PRECISION"
MISSING = object()
logger = logging.getLogger(__name__)


def entries_of(config: str) -> dict[str, Any]:
    """The values of a config's text by their entries' whole names; of a user's file its name."""
    tree = yaml.safe_load(config)
    return {name: _by_file_name(value) for name, value in leaves(tree)}


def _by_file_name(value: Any) -> Any:
    """``/home/me/mine.py:my_loss`` as ``mine.py:my_loss``; what stands in the file is compared."""
    if isinstance(value, list):
        return [_by_file_name(item) for item in value]
    if isinstance(value, str) and ".py:" in value:
        path, _, name = value.rpartition(":")
        return f"{Path(path).name}:{name}"
    return value


def _defaults() -> Iterator[tuple[str, Any]]:
    """Entries and their defaults, as they stand in a config's text."""
    tables = DETECTRON2_NODES | wend_tables()
    for node, table in tables.items():
        for entry in table:
            default = entry.default
            default = list(default) if isinstance(default, tuple) else default
            yield f"{node}.{entry.name}" if node else entry.name, default


def changed_entries(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Entries that differ -> ``then -> now``, in words.

    An entry that one of the two configs does not have, being of another version of WEND or
    Detectron2, differs where the other's value is not the default.
    """
    defaults = dict(_defaults())
    changed = {}
    for name in [*now, *(name for name in then if name not in now)]:
        old, new = (values.get(name, defaults.get(name, MISSING)) for values in (then, now))
        is_known = MISSING not in (old, new) or name.startswith("WEND.")
        if is_known and old != new:
            changed[name] = f"{_worded(old)} -> {_worded(new)}"
    return changed


def _worded(value: Any) -> str:
    return "no such entry" if value is MISSING else shown(value, 120)


def check_changes(
    path: Path, content: Mapping[str, Any], asked: Asked, *, allow: bool, say: bool = True
) -> frozenset[str]:
    """Refuse to go on with a training that is another one than the checkpoint's, or say so.

    Args:
        path: the checkpoint, for messages.
        content: what it holds.
        asked: what is asked for now.
        allow: whether what differs is meant.
        say: whether what differs and is allowed or free is logged.

    Returns:
        The config entries that differ and are not free.

    Raises:
        InputError: it does, and that is not allowed; or the engine is another. Names all of it.
    """
    stated = content.get(ORIGIN_KEY) or {}
    facts = content.get(TRAINING_KEY) or {}
    made_by = stated.get("engine", asked.origin.engine)
    if made_by != asked.origin.engine:
        raise InputError(
            f"{path}: was saved by the engine {made_by}, and the training is to go on with "
            f"{asked.origin.engine}; give --engine {made_by}"
        )
    entries: dict[str, str] = {}
    changed: list[str] = []
    if "config" in stated:
        entries = changed_entries(entries_of(stated["config"]), entries_of(asked.origin.config))
    if asked.seed_is_open:
        entries.pop("SEED", None)
    if "SOLVER.MAX_ITER" not in entries:
        entries.pop("WEND.EPOCHS", None)  # another way to the same length
    free = [f"{name}: {change}" for name, change in entries.items() if name in FREE]
    changed += [f"{name}: {change}" for name, change in entries.items() if name not in FREE]
    changed += _changed_facts(facts, asked.facts)
    if not stated or not facts:
        changed.append(
            "the data, the seed and the number of processes: not noted by the program or earlier "
            "WEND that saved it"
        )
    if say and free:
        logger.info("%s: differs in what changes no number: %s", path, "; ".join(free))
    versions = _changed(facts.get("versions", {}), asked.facts.get("versions", {}))
    if say and versions:
        logger.warning(
            "%s: was saved by other versions, whose numbers may differ in the last digits: %s",
            *(path, "; ".join(f"{name} {change}" for name, change in versions.items())),
        )
    if changed and not allow:
        raise InputError(
            f"--resume: the training of {path} differs from the one that is asked for: "
            f"{'; '.join(changed)}. Ask for what it was trained with (without --config-file "
            f"--resume takes its own config), or add --allow-changes (allow_changes=True of "
            f"resume_or_load) where all that is meant"
        )
    if changed and say:
        logger.warning(
            "--allow-changes: going on from %s with another training: %s", path, "; ".join(changed)
        )
    return frozenset(entries).difference(FREE)


def warn_if_trained_otherwise(weights: str | Path, config: str) -> None:
    """Say loudly where a detector is not evaluated as what it was trained as.

    Args:
        weights: the file; nothing is said of one that does not state its config.
        config: the text of the config that it is evaluated with.

    Logs:
        A warning with each entry of the detector, its input and its view that differs; a line
        where it computes in other numbers.
    """
    origin = read_origin(weights)
    if origin is None:
        return
    changed = changed_entries(entries_of(origin.config), entries_of(config))
    if PRECISION in changed:
        logger.info("%s: computes in other numbers, %s: %s", weights, PRECISION, changed[PRECISION])
    listed = [
        f"{name}: {change}"
        for name, change in changed.items()
        if name.startswith(PREDICTS) and name not in FREE and not name.endswith(NOT_SEEN)
    ]
    if listed:
        logger.warning(
            "%s: IS NOT EVALUATED AS IT WAS TRAINED, numbers may be far from its own: %s",
            *(weights, "; ".join(listed)),
        )


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What two mappings have, and have differently."""
    both = [name for name in now if name in then]
    return {name: f"{then[name]} -> {now[name]}" for name in both if then[name] != now[name]}


def _changed_facts(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """How data, code and processes differ, in words."""
    if not then:
        return
    if then.get("data_digest") != now["data_digest"]:
        old, new = (
            f"{part.get('images')} images with {part.get('boxes')} boxes" for part in (then, now)
        )
        more = " of other names, order, sizes, places or scores" if old == new else ""
        yield f"training data: {old} -> {new}{more}"
    code = then.get("code", {})
    for name in sorted(code.keys() | now["code"].keys()):
        if code.get(name) != now["code"].get(name):
            yield f"your code {name}: of other content, or not there"
    processes = then.get("world_size"), now["world_size"]
    if None not in processes and processes[0] != processes[1]:
        yield f"processes: {processes[0]} -> {processes[1]}"
