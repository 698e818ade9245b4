"""The paper's tables and figures, and studies of noise, with one command each.

python projects/reproduce/run.py table 2 --data CUB --weights R50=R-50.pth D161=densenet161.pth
python projects/reproduce/run.py table 2 10 12 --toy --jobs 2
python projects/reproduce/run.py figure 3 --toy
python projects/reproduce/run.py study noise --jobs 2
python projects/reproduce/run.py study photos --datasets-root DIR --engine torchvision
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures
import paired
import render
from plan import (
    DATA,
    HERE,
    Row,
    Run,
    as_toy,
    carries_we,
    figure_rows,
    plan_runs,
    table_rows,
    with_overrides,
    with_readings,
    with_weights,
)
from runs import estimate, run_all, sample_seconds, unique
from study import Study, read_study

from wend.cli.strict_parser import StrictParser
from wend.datasets.toy import ToyConfig, write_toy
from wend.errors import InputError, MissingFileError
from wend.numerals import whole_number
from wend.yaml_files import read_yaml

Plan = Mapping[Row, Sequence[Run]]


class Part(NamedTuple):
    """A table, a figure or a setting of a study.

    Attributes:
        title: stands above it.
        plan: its rows with their runs.
        note: stands below it.
    """

    title: str
    plan: Plan
    note: str = ""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = StrictParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["table", "figure", "study"])
    parser.add_argument("which", nargs="+", help="numbers of tables, figures; or studies")
    parser.add_argument("--toy", action="store_true", help="on toy data, small scale")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, help="default: 0 1 2 on toy data, else 0")
    parser.add_argument("--output", type=Path, default=Path("output/reproduce"))
    parser.add_argument("--print-only", action="store_true", help="print the commands to run")
    parser.add_argument("--collect-only", action="store_true", help="tables of what is finished")
    parser.add_argument("--weights", nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--from-scratch", action="store_true", help="without any weights")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--datasets-root", type=Path, metavar="DIR", help="of a study's photos")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows of a study, by name")
    parser.add_argument("--at", nargs="+", metavar="NAME", help="settings of a study, such as 45")
    parser.add_argument(
        "--reading",
        nargs="+",
        choices=["likeliest", "literal"],
        default=["likeliest"],
        help="of the weighted entropy in tables and figures (docs/weighted_entropy.md)",
    )
    parser.add_argument("--engine", default="auto", choices=["auto", "detectron2", "torchvision"])
    parser.add_argument("--num-gpus", type=int, default=1)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run"
    )
    args = parser.parse_args(argv)
    toy = args.toy or args.what == "study"
    args.seeds = args.seeds or ([0, 1, 2] if toy else [0])
    return args


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a mapping."""
    for text in texts:
        if "=" not in text:
            raise InputError(f"{option} {text}: expected NAME=VALUE")
    values = dict(text.split("=", 1) for text in texts)
    if len(values) < len(texts):
        raise InputError(f"{option} {' '.join(texts)}: a name is given twice; give it once")
    return values


def prepare_rows(
    args: argparse.Namespace, rows: Sequence[Row], toy: Mapping[str, Any]
) -> list[Row]:
    """Rows at the scale that was asked for, with their weights and the user's overrides."""
    if args.toy:
        root = args.output / "data"
        root.mkdir(parents=True, exist_ok=True)
        write_toy(
            root / "toy", ToyConfig(num_train=toy["train_images"], num_test=toy["test_images"])
        )
        rows = [as_toy(row, toy, root) for row in rows]
    elif not args.from_scratch:
        files = pairs(args.weights, "--weights")
        if args.print_only:
            files = {row.weights: files.get(row.weights, f"{row.weights}.pth") for row in rows}
        rows = [with_weights(row, files) for row in rows]
    changes = pairs(args.set, "--set")
    return [with_overrides(row, changes) for row in rows]


def plans(args: argparse.Namespace) -> dict[str, Part]:
    """Name of the result's files -> what is in them."""
    tables, toy = (read_yaml(HERE / name, "a plan") for name in ("tables.yaml", "toy.yaml"))
    plan = partial(
        plan_runs, seeds=args.seeds, output=args.output, engine=args.engine, num_gpus=args.num_gpus
    )
    readings = list(dict.fromkeys(args.reading))
    suffix = "" if readings == ["likeliest"] else "_" + "_".join(readings)
    suffix += "_toy" if args.toy else ""
    found: dict[str, Part] = {}
    for text in args.which:
        try:
            number = whole_number(text)
        except ValueError as error:
            raise InputError(f"{args.what} {text}: {error}") from None
        note = ""
        if args.what == "table":
            data = args.data[:1] if args.toy else args.data
            rows = table_rows(tables, number, data) or table_rows(tables, number, DATA)
            title = f"Table {number}: {tables['tables'][number]['title']}"
            note = tables["tables"][number].get("note", "")
        else:
            rows = figure_rows(tables, number)
            title = f"Figure {number}: {tables['figures'][number]['title']}"
        if any(map(carries_we, rows)):
            named = f"WE in its reading {' and '.join(readings)} (docs/weighted_entropy.md)."
            note = f"{named} {note}".strip()
        rows = with_readings(rows, readings, tables["readings"])
        rows = prepare_rows(args, rows, toy)
        if args.what == "figure" and args.toy:
            rows = [with_overrides(row, toy["figure"]) for row in rows]
        found[f"{args.what}{number}{suffix}"] = Part(title, plan(rows), note)
    return found


def study_plans(args: argparse.Namespace, study: Study) -> dict[str, Part]:
    """Name of a setting's files -> its title and its rows with their runs."""
    changes = pairs(args.set, "--set")
    return {
        f"{study.name}{setting.name}": Part(
            setting.title,
            plan_runs(
                [with_overrides(row, changes) for row in rows],
                seeds=args.seeds,
                output=args.output,
                engine=args.engine,
                num_gpus=args.num_gpus,
            ),
        )
        for setting, rows in study.rows.items()
    }


def show(args: argparse.Namespace, found: Mapping[str, Part]) -> None:
    """Write and print what the finished runs say."""
    results = args.output / "results"
    for name, (title, plan, note) in found.items():
        if args.what == "figure":
            curves = figures.curves(plan, render.PROTOCOLS[0])
            figures.plot(results / f"{name}.png", curves, title, "epoch")
            render.write(results / f"{name}.csv", figures.curve_csv(curves, "epoch"))
        else:
            text = render.markdown(plan, title, note)
            print(f"\n{text}")
            render.write(results / f"{name}.md", text)
            render.write(results / f"{name}.csv", render.as_csv(plan))
    print(f"written: {', '.join(str(path) for path in sorted(results.glob('*')))}")


def show_study(args: argparse.Namespace, study: Study, found: Mapping[str, Part]) -> None:
    """Write and print what a study's finished runs say."""
    results = args.output / "results"
    settings = {f"{study.name}{setting.name}": setting for setting in study.settings}
    spreads: dict[str, dict[str, dict[float, render.Spread]]] = {
        protocol: defaultdict(dict) for protocol in study.protocols
    }
    for name, (title, plan, _) in found.items():
        parts = [f"### {study.title}: {title}"]
        for protocol in study.protocols:
            tested = paired.compare_rows(plan, study.against, study.test, protocol)
            parts += [f"Protocol {protocol}", render.study_table(plan, protocol)]
            parts += [paired.pair_table(tested)] if tested else []
            for row, runs in plan.items():
                spread = render.collect(runs, [protocol]).get(protocol, {}).get("gt_known_loc")
                if spread:
                    spreads[protocol][row.label][settings[name].x] = spread
        text = "\n\n".join(parts) + "\n"
        print(f"\n{text}")
        render.write(results / f"{name}.md", text)
        numbers = render.as_csv(plan, study.protocols, {**render.METRICS, **render.STUDY_METRICS})
        render.write(results / f"{name}.csv", numbers)
    for protocol, of_rows in spreads.items():
        points = {
            label: [(x, s.mean, s.sd or 0.0, len(s.values)) for x, s in sorted(of_row.items())]
            for label, of_row in of_rows.items()
        }
        title = f"{study.title}, {protocol}: mean and one standard deviation over seeds"
        figures.plot(results / f"{study.name}_{protocol}.png", points, title, study.x)
        csv = figures.curve_csv(points, study.x.partition(" ")[0])
        render.write(results / f"{study.name}_{protocol}.csv", csv)
        overview = render.overview(of_rows, study.x)
        print(f"\nGT-known Loc ({protocol})\n\n{overview}")
        render.write(results / f"{study.name}_{protocol}.md", overview + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, collect, write; 1: a run failed, 2: the user's input is wrong."""
    args = parse(argv)
    try:
        if args.what != "study":
            found = plans(args)
            return execute(args, found, lambda: show(args, found), is_small=args.toy)
        status = 0
        for name in args.which:
            try:
                study = read_study(name, args.output, args.datasets_root, args.only, args.at)
            except MissingFileError as error:
                print(f"study {name}: skipped, its data are missing: {error}", file=sys.stderr)
                status = 2
                continue
            of_study = study_plans(args, study)
            shown = partial(show_study, args, study, of_study)
            status = max(status, execute(args, of_study, shown, is_small=True))
        return status
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def execute(
    args: argparse.Namespace,
    found: Mapping[str, Part],
    show_them: Callable[[], None],
    *,
    is_small: bool,
) -> int:
    """Print, run, or collect a plan, as the arguments say; 1: a run failed.

    Args:
        is_small: say beforehand how long it will take, from a few iterations of each kind of run.
    """
    runs = unique(run for part in found.values() for each in part.plan.values() for run in each)
    if args.print_only:
        for run in runs:
            print(run.command())
        return 0
    failures = []
    if not args.collect_only:
        if is_small:
            sample = partial(sample_seconds, threads=args.threads)
            expected, _ = estimate(runs, args.jobs, sample)
            print(f"expected: {timedelta(seconds=round(expected))} for {len(runs)} runs")
        start = monotonic()
        failures = run_all(runs, args.jobs, args.threads)
        print(f"took {timedelta(seconds=round(monotonic() - start))}")
    show_them()
    for failure in failures:
        print(f"\n{failure.run.command()}\nended with status {failure.status}:\n{failure.tail}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
