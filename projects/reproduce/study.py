"""A study as data (``studies.yaml``): rows that differ in one thing, on data of known noise."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from disturb import disturb, right_boxes, write
from noise import make_data
from photos import as_photos
from plan import HERE, REPOSITORY, Row, detector_of

from wend.datasets.catalog import DataSets
from wend.datasets.declaring import declare
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError, some
from wend.pseudo_boxes import join_boxes, read_boxes
from wend.structures.data_set import DataSet
from wend.yaml_files import read_yaml

GIVEN = "given"  # pseudo boxes as they are
SEED = 0  # of the disturbance


@dataclass(frozen=True, eq=False)
class Setting:
    """What the rows of a study are trained on, at one size of the noise.

    Attributes:
        name: of its runs' and results' files.
        x: where it stands on the axis of the noise.
        title: what it holds, in words.
        datasets_root: of its data sets.
        overrides: KEY -> VALUE that name them.
        other_boxes: name of further pseudo boxes of the same images -> makes them where they are
            not there, and returns what they change of ``overrides``.
    """

    name: str
    x: float
    title: str
    datasets_root: str
    overrides: Mapping[str, str] = field(default_factory=dict)
    other_boxes: Mapping[str, Callable[[], Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Study:
    """A study's rows and settings.

    Attributes:
        name: its key in ``studies.yaml``.
        title: of its figures.
        x: label of the axis of the noise.
        protocols: whose numbers are shown.
        settings: in the order in which they are run.
        rows: setting -> its rows.
        against: label of a row -> label of the row that it is compared with.
        test: the data set to test on.
    """

    name: str
    title: str
    x: str
    protocols: Sequence[str]
    settings: Sequence[Setting]
    rows: Mapping[Setting, Sequence[Row]]
    against: Mapping[str, str]
    test: DataSet


def toy_noise(data: Mapping[str, Any], folder: Path, root: Path | None) -> list[Setting]:
    """Toy sets of a row's scale, with these shares of disturbed images (``wend.datasets.toy``)."""
    toy = read_yaml(HERE / "toy.yaml", "a plan")
    settings = []
    for share in data["disturbed"]:
        place, summary = make_data(folder, share, toy)
        right = 100 * summary["train"]["pseudo_box_accuracy"]
        title = f"{100 * share:.0f} % disturbed, {right:.1f} % with IoU > 0.5"
        settings.append(Setting(f"{round(100 * share):02d}", 100 * share, title, str(place)))
    return settings


def disturbed(data: Mapping[str, Any], folder: Path, root: Path | None) -> list[Setting]:
    """A data set whose pseudo boxes (or true ones) are disturbed (``disturb.py``).

    ``data`` may have ``toy``, the config of a toy set that is generated first, and ``other_boxes``:
    name -> the ``command`` of ``wend`` that makes them and the ``file`` in which they are then, a
    COCO JSON. In both, {folder} is that of the study's data, {root} that of the data sets, {file}
    the disturbed boxes and {name} the setting; ``needs`` names those that must be there before.
    """
    if "toy" in data:
        root = folder
        root.mkdir(parents=True, exist_ok=True)
        write_toy(root / "toy", ToyConfig(**data["toy"]))
    data_sets = DataSets(root)
    data_set = data_sets.get(data["train"])
    boxes = data_set.truth if data.get("boxes") == "truth" else data_set.pseudo_boxes

    def train_on(kind: str, file: Path) -> dict[str, str]:
        yaml_file = (folder / f"{data['train']}_{kind}.yaml").resolve()
        if not yaml_file.is_file():
            photos, images = as_photos([data_set], data_set.name)
            boxes = read_boxes({"source": "coco", "path": file})
            table, _ = join_boxes(photos.keys, photos.sizes, boxes)
            declare(yaml_file, images, photos, truth=photos.truth, boxes=table)
        return {"DATASETS.TRAIN": f"('{yaml_file}',)"}

    settings = []
    for right in data["right"]:
        share = right_boxes(data_set, boxes).mean() if right == GIVEN else right
        name = f"{round(100 * share):02d}"
        file = folder / f"right{name}.json"

        if not file.is_file():
            changed = disturb(data_set, boxes, share, SEED)
            write(file, data_set, changed, {"dataset": data_set.name, "right": share, "seed": SEED})
        places = {"folder": str(folder), "root": str(data_sets.root)}
        places |= {"file": str(file), "name": name}
        others = data.get("other_boxes", {})
        settings.append(
            Setting(
                name,
                100 * share,
                f"{100 * share:.1f} % of {len(boxes.boxes)} boxes right",
                str(root or ""),
                {
                    **train_on(f"right{name}", file),
                    "DATASETS.TEST": f"('{data['test']}',)",
                    "WEND.DATA.CACHE": str(folder.resolve() / "cache"),
                },
                {kind: partial(_make, others, kind, places, train_on) for kind in others},
            )
        )
    return settings


def _make(
    others: Mapping[str, Mapping[str, Any]],
    kind: str,
    places: Mapping[str, str],
    train_on: Callable[[str, Path], dict[str, str]],
) -> dict[str, str]:
    """Pseudo boxes that a command of ``wend`` makes; it is printed, and not run again."""
    other = others[kind]
    for needed in other.get("needs", ()):
        _make(others, needed, places, train_on)
    file = Path(other["file"].format(**places))
    if not file.is_file():
        words = [word.format(**places) for word in other["command"].split()]
        sys.stdout.write(shlex.join(["wend", *words]) + "\n")
        sys.stdout.flush()
        if status := subprocess.run([sys.executable, "-m", "wend", *words], check=False).returncode:
            raise InputError(f"{shlex.join(['wend', *words])}: ended with status {status}")
    return train_on(f"{kind}{places['name']}", file)


MAKERS: dict[str, Callable[[Mapping[str, Any], Path, Path | None], list[Setting]]]
MAKERS = {"toy": toy_noise, "disturbed": disturbed}


def read_study(
    name: str,
    output: Path,
    root: Path | None = None,
    only: Sequence[str] | None = None,
    at: Sequence[str] | None = None,
) -> Study:
    """A study with its data, which are made where they are not there.

    Args:
        name: its key in ``studies.yaml``.
        output: its data are below it.
        root: folder of the data sets; None for the environment's.
        only: names of rows; None for all. The rows that they are compared with are not added.
        at: names of settings; None for all.

    Raises:
        InputError: there is no such study, row or setting, or its data are missing.
    """
    studies = read_yaml(HERE / "studies.yaml", "studies")
    if name not in studies:
        raise InputError(f"study {name}: there are: {', '.join(studies)}")
    study = studies[name]
    data = study["data"]
    entries = {row["name"]: row for row in study["rows"]}
    if unknown := [row for row in only or () if row not in entries]:
        known = some(entries, len(entries))
        raise InputError(f"--only {unknown[0]}: there is no such row of study {name}: {known}")
    chosen = [entries[row] for row in entries if not only or row in only]
    settings = MAKERS[data["kind"]](data, output / "data" / name, root)
    named = {setting.name: setting for setting in settings}
    if unknown := [setting for setting in at or () if setting not in named]:
        raise InputError(f"--at {unknown[0]}: study {name} has {', '.join(named)}")
    settings = [named[setting] for setting in at or named]
    scale = read_yaml(HERE / study["scale"], "a plan") if "scale" in study else {}
    rows = {
        setting: [
            _row(name, entry, setting, scale, study.get("set", {}))
            for entry in chosen
            if setting.name in entry.get("at", [setting.name])
        ]
        for setting in settings
    }
    against = {
        entry["label"]: entries[entry["against"]]["label"] for entry in chosen if "against" in entry
    }
    test = DataSets(settings[0].datasets_root or None).get(data.get("test", "toy_test"))
    texts = (study["title"], study["x"], study["protocols"])
    return Study(name, *texts, settings, rows, against, test)


def _row(
    study: str,
    entry: Mapping[str, Any],
    setting: Setting,
    scale: Mapping[str, Any],
    common: Mapping[str, Any],
) -> Row:
    config_file = REPOSITORY / entry["config"]
    changes: dict[str, Any] = dict(scale.get("common", {}))
    if scale:
        changes |= scale["detectors"].get(detector_of(config_file), {})
    others = setting.other_boxes[entry["boxes"]]() if "boxes" in entry else {}
    changes |= {**setting.overrides, **others, **common, **entry.get("set", {})}
    return Row(
        label=entry["label"],
        backbone="",
        data=setting.title,
        config_file=config_file,
        overrides={key: str(value) for key, value in changes.items()},
        datasets_root=setting.datasets_root,
        name=f"{study}/{setting.name}/{entry['name']}",
        alike=f"{study}/{entry['config']}",
    )
