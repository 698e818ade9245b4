"""What to run: rows of the paper's tables, or of a study, as trainings with their configs."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.inference.engines import choose_engine, engine_module

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
CONFIGS = REPOSITORY / "configs"
TRAIN_NET = REPOSITORY / "projects" / "WEND" / "train_net.py"
DATA = ("CUB", "ImageNet")


@dataclass(frozen=True, eq=False)
class Row:
    """One line of a table.

    Attributes:
        label, backbone: as the paper writes them.
        data: "CUB", "ImageNet" or "toy".
        config_file: its YAML; None for a row of which there are published figures alone.
        weights: name of the weights that it starts from, for ``--weights``.
        paper: metric -> the published figure; metrics without one are absent.
        overrides: KEY -> VALUE after the YAML.
        datasets_root: folder of its data sets; empty for the environment's.
        name: of its runs' folder; empty for one made from data and config.
        alike: a name that rows share whose runs take about as long; empty: rows of one config.
        reading: of the weighted entropy, in its runs' folder; empty for the config's own.
    """

    label: str
    backbone: str
    data: str
    config_file: Path | None
    weights: str = ""
    paper: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    datasets_root: str = ""
    name: str = ""
    alike: str = ""
    reading: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """One training: a config and a seed. Rows whose configs say the same share their runs.

    Attributes:
        name: folder of its kind, such as "CUB/faster_rcnn_R50_we".
        key: hash of the resolved config's entries that are not at their defaults, without seed,
            OUTPUT_DIR and IMPORTS, and the data. New entries of a later version leave it as it is.
        time_key: the same without the data, or the row's ``alike``: runs that take equally long.
        max_iter: iterations, or 0 where they depend on the data set's size.
    """

    row: Row
    name: str
    key: str
    time_key: str
    seed: int
    output: Path
    engine: str
    num_gpus: int
    test_set: str
    max_iter: int

    @property
    def folder(self) -> Path:
        """OUTPUT_DIR."""
        return self.output / self.name / f"seed{self.seed}"

    def arguments(self, folder: Path | None = None, **changes: str) -> list[str]:
        """What ``train_net.py`` is called with."""
        assert self.row.config_file is not None
        overrides = {**self.row.overrides, "SEED": str(self.seed), **changes}
        roots = ["--datasets-root", self.row.datasets_root] if self.row.datasets_root else []
        config_file = os.path.relpath(self.row.config_file)
        return [
            *("--config-file", config_file, "--engine", self.engine),
            *("--num-gpus", str(self.num_gpus), *roots, "--resume"),
            *("OUTPUT_DIR", str(folder or self.folder)),
            *(text for pair in overrides.items() for text in pair),
        ]

    def command(self) -> str:
        """The shell command that runs it from here."""
        return shlex.join(["python", os.path.relpath(TRAIN_NET), *self.arguments()])


def table_rows(tables: Mapping[str, Any], number: int, data: Iterable[str]) -> list[Row]:
    """The rows of a table of the paper that have figures for the data sets.

    Raises:
        InputError: the table is not among those of tables.yaml.
    """
    known = tables["tables"]
    if number not in known:
        raise InputError(
            f"table {number}: there are {', '.join(map(str, known))}; table 1 is "
            f"projects/benchmark/cost"
        )
    return [
        Row(
            label=row["label"],
            backbone=row["backbone"],
            data=name,
            config_file=CONFIGS / row["config"][name] if "config" in row else None,
            weights=row.get("weights", ""),
            paper={
                metric: value
                for metric, value in zip(tables["metrics"], row["paper"][name], strict=True)
                if value is not None
            },
        )
        for name in data
        for row in known[number]["rows"]
        if name in row["paper"]
    ]


def figure_rows(tables: Mapping[str, Any], number: int) -> list[Row]:
    """The runs whose curves a figure of the paper shows."""
    known = tables["figures"]
    if number not in known:
        raise InputError(f"figure {number}: there are {', '.join(map(str, known))}")
    return [
        Row(run["label"], "", run["data"], CONFIGS / run["config"], run["weights"])
        for run in known[number]["runs"]
    ]


def with_weights(row: Row, files: Mapping[str, str]) -> Row:
    """The row with its initial weights.

    Raises:
        InputError: no file is given for them.
    """
    if row.config_file is None:
        return row
    if row.weights not in files:
        raise InputError(
            f"{row.config_file.name} starts from the weights {row.weights!r}: give "
            f"--weights {row.weights}=FILE (docs/backbones.md says which files fit)"
        )
    return with_overrides(row, {"MODEL.WEIGHTS": files[row.weights]} if files[row.weights] else {})


def with_overrides(row: Row, overrides: Mapping[str, Any]) -> Row:
    """The row with further KEY: VALUE."""
    texts = {key: str(value) for key, value in overrides.items()}
    return replace(row, overrides={**row.overrides, **texts})


def with_readings(
    rows: Iterable[Row], names: Sequence[str], readings: Mapping[str, Any]
) -> list[Row]:
    """Each row that carries the weighted entropy once for each reading of it; others once.

    Args:
        rows: of a table or a figure.
        names: names of readings; of several each row says which it has.
        readings: name of a reading -> the entries that it changes (tables.yaml).
    """
    found = []
    for row in rows:
        if not carries_we(row):
            found.append(row)
            continue
        for name in names:
            label = f"{row.label}, {name}" if len(names) > 1 else row.label
            reading = name if readings[name] else ""
            found.append(with_overrides(replace(row, label=label, reading=reading), readings[name]))
    return found


def carries_we(row: Row) -> bool:
    """Whether the weighted entropy is in the row's config."""
    if row.config_file is None:
        return False
    return CfgNode.load_yaml_with_base(str(row.config_file))["WEND"]["LOSS"] == "weighted_entropy"


def as_toy(row: Row, toy: Mapping[str, Any], datasets_root: Path) -> Row:
    """The row at the scale of the toy data (toy.yaml)."""
    if row.config_file is None:
        return replace(row, data="toy")
    special = toy["detectors"].get(detector_of(row.config_file), {})
    changed = with_overrides(row, {**toy["common"], **special})
    return replace(changed, data="toy", datasets_root=str(datasets_root))


def detector_of(config_file: Path) -> str:
    """The detector that a YAML names."""
    return _resolve(choose_engine("auto"), config_file, ()).MODEL.META_ARCHITECTURE


@cache
def _resolve(engine: str, config_file: Path, opts: tuple[str, ...]) -> Any:
    return engine_module(engine, "run").read_config(str(config_file), list(opts))


def plan_runs(
    rows: Sequence[Row],
    seeds: Sequence[int],
    output: Path,
    *,
    engine: str = "auto",
    num_gpus: int = 1,
) -> dict[Row, list[Run]]:
    """Each row's runs, one a seed; none of a row that has no config.

    Rows with equal configs and data get the same runs.

    Raises:
        InputError: a config cannot be read, or the engine does not have its detector.
    """
    engine = choose_engine(engine)
    first: dict[str, str] = {}
    taken: dict[str, str] = {}
    plan: dict[Row, list[Run]] = {}
    for row in rows:
        if row.config_file is None:
            plan[row] = []
            continue
        opts = tuple(text for pair in row.overrides.items() for text in pair)
        cfg = _resolve(engine, row.config_file, opts).clone()
        cfg.OUTPUT_DIR = ""
        cfg.WEND.IMPORTS = []  # paths, which differ from checkout to checkout
        config_key = _hash(f"{engine}\n{_changed(cfg, _defaults(engine))}")
        time_key = row.alike or config_key
        key = _hash(f"{config_key} {row.datasets_root}")
        name = first.setdefault(key, _name(row, key, taken))
        taken[name] = key
        plan[row] = [
            Run(
                row=row,
                name=name,
                key=key,
                time_key=time_key,
                seed=seed,
                output=output,
                engine=engine,
                num_gpus=num_gpus,
                test_set=cfg.DATASETS.TEST[0],
                max_iter=0 if cfg.WEND.EPOCHS else cfg.SOLVER.MAX_ITER,
            )
            for seed in seeds
        ]
    return plan


@cache
def _defaults(engine: str) -> Any:
    return engine_module(engine, "run").default_config()


def _changed(cfg: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The entries, by node, that are not at their defaults."""
    found = {}
    for name in sorted(cfg):
        value, default = cfg[name], defaults.get(name)
        if isinstance(value, Mapping):
            value = _changed(value, default if isinstance(default, Mapping) else {})
            if value:
                found[name] = value
        elif name not in defaults or value != default:
            found[name] = value
    return found


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _name(row: Row, key: str, taken: Mapping[str, str]) -> str:
    """The config's path, before it the data's name; with the hash where another run has it.

    A reading of WE is in the name, so that one ``--output`` holds several, whatever is asked first.
    """
    if row.name:
        return row.name
    assert row.config_file is not None
    stem = row.config_file.relative_to(CONFIGS).with_suffix("").as_posix()
    stem = stem.removeprefix(f"{row.data}/").replace("/", "-")
    weights = f"-{row.weights}" if row.overrides.get("MODEL.WEIGHTS") else ""
    name = f"{row.data}/{stem}{f'-{row.reading}' if row.reading else ''}{weights}"
    return name if taken.get(name, key) == key else f"{name}-{key[:8]}"
