"""A study as data (``studies.yaml``): rows that differ in one thing, on data of known noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from disturb import disturb, right_boxes, write
from noise import make_data
from photos import declare
from plan import HERE, REPOSITORY, Row, detector_of

from wend.datasets.catalog import DataSets
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError, some
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
    """

    name: str
    x: float
    title: str
    datasets_root: str
    overrides: Mapping[str, str] = field(default_factory=dict)


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

    ``data`` may have ``toy``, the config of a toy set that is generated first.
    """
    if "toy" in data:
        root = folder
        root.mkdir(parents=True, exist_ok=True)
        write_toy(root / "toy", ToyConfig(**data["toy"]))
    data_set = DataSets(root).get(data["train"])
    boxes = data_set.truth if data.get("boxes") == "truth" else data_set.pseudo_boxes
    settings = []
    for right in data["right"]:
        share = right_boxes(data_set, boxes).mean() if right == GIVEN else right
        name = f"{round(100 * share):02d}"
        file = folder / f"right{name}.json"
        yaml_file = (folder / f"{data['train']}_right{name}.yaml").resolve()
        if not yaml_file.is_file():
            changed = disturb(data_set, boxes, share, SEED)
            write(file, data_set, changed, {"dataset": data_set.name, "right": share, "seed": SEED})
            declare(folder, yaml_file.stem, data_set, file)
        title = f"{100 * share:.1f} % of {len(boxes.boxes)} boxes right"
        sets = {"DATASETS.TRAIN": f"('{yaml_file}',)", "DATASETS.TEST": f"('{data['test']}',)"}
        sets["WEND.DATA.CACHE"] = str(folder.resolve() / "cache")
        settings.append(Setting(name, 100 * share, title, str(root or ""), sets))
    return settings


MAKERS: dict[str, Callable[[Mapping[str, Any], Path, Path | None], list[Setting]]]
MAKERS = {"toy": toy_noise, "disturbed": disturbed}


def read_study(
    name: str, output: Path, root: Path | None = None, only: Sequence[str] | None = None
) -> Study:
    """A study with its data, which are made where they are not there.

    Args:
        name: its key in ``studies.yaml``.
        output: its data are below it.
        root: folder of the data sets; None for the environment's.
        only: names of rows; None for all. The rows that they are compared with are not added.

    Raises:
        InputError: there is no such study or row, or its data are missing.
    """
    studies = read_yaml(HERE / "studies.yaml", "studies")
    if name not in studies:
        raise InputError(f"study {name}: there are: {', '.join(studies)}")
    study = studies[name]
    data = study["data"]
    entries = {row["name"]: row for row in study["rows"]}
    unknown = [row for row in only or () if row not in entries]
    if unknown:
        known = some(entries, len(entries))
        raise InputError(f"--only {unknown[0]}: there is no such row of study {name}: {known}")
    chosen = [entries[row] for row in entries if not only or row in only]
    settings = MAKERS[data["kind"]](data, output / "data" / name, root)
    scale = read_yaml(HERE / study["scale"], "a plan") if "scale" in study else {}
    rows = {
        setting: [
            _row(name, entry, setting, scale)
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


def _row(study: str, entry: Mapping[str, Any], setting: Setting, scale: Mapping) -> Row:
    config_file = REPOSITORY / entry["config"]
    changes: dict[str, Any] = dict(scale.get("common", {}))
    if scale:
        changes |= scale["detectors"].get(detector_of(config_file), {})
    changes |= {**setting.overrides, **entry.get("set", {})}
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
