"""The page of ``wend report``: a run, or several beside each other."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from wend.config import view_of
from wend.errors import InputError
from wend.evaluation.best import HELD_OUT, Best
from wend.evaluation.metrics import METRICS
from wend.evaluation.protocols import get_protocol
from wend.evaluation.score_files import TABLE_FILES
from wend.files import read_lines
from wend.reports.boxes_numbers import shape_histograms
from wend.reports.boxes_pictures import histogram_figure
from wend.reports.curve import TOTAL_LOSS, Line, line_figure
from wend.reports.gallery import (
    Shown,
    detector_choices,
    differing,
    first_of_each,
    spread_evenly,
)
from wend.reports.page import (
    Code,
    Figure,
    Figures,
    Folded,
    Gallery,
    Page,
    Section,
    Table,
    Words,
)
from wend.reports.page_parts import (
    DASH,
    figure,
    plain_table,
    recall_of_several,
    score_figures,
    score_part,
    shape_rows,
)
from wend.reports.roles import OURS, PSEUDO, TRUTH
from wend.reports.run_folder import RunFolder, Tested, pseudo_scores
from wend.reports.words import GT_KNOWN, how, rate, score_text, verdict
from wend.run_files import BEST_WEIGHTS, evaluation_folder
from wend.structures.boxes import paired_iou
from wend.structures.data_set import DataSet
from wend.structures.view import describe_view
from wend.yaml_files import leaves

CURVE_METRIC = "gt_known_loc"
MOST_COUNTED = 20  # boxes of an image, and more
KINDS = {"pseudo_boxes": "pseudo boxes", "gt_boxes": "TRUE boxes (an upper bound)"}
SIDE_BY_SIDE = ("gt_known_loc", "gt_known_loc_multi", "mean_iou", "top1_loc", "top5_loc")


def run_page(
    runs: Sequence[RunFolder], *, defaults: CfgNode | None = None, number: int = 6
) -> Page:
    """The page of one or more runs.

    Args:
        runs: their names differ.
        defaults: the entries' defaults, to say what differs; None to say nothing.
        number: images of each gallery.
    """
    references = [words for run in runs for words in run.reference.values()]
    truth = " or ".join(dict.fromkeys([TRUTH.title, *references])) if references else TRUTH.title
    roles = [(TRUTH, truth), (PSEUDO, PSEUDO.title), (OURS, OURS.title)]
    if len(runs) > 1:
        asked, came, fine = _several(runs)
        title, sections = f"{len(runs)} runs", [*_sections_of_several(runs, number)]
    else:
        asked, came, fine = _asked(runs[0]), _came(runs[0]), _how(runs)
        title, sections = f"Run {runs[0].name}", [*_sections(runs[0], number)]
    sections.append(Section("Training", [*_training(runs)]))
    boxes = [*_pseudo_boxes(runs)]
    if boxes:
        sections.append(Section("Pseudo boxes", boxes))
    sections.append(Section("Config and machine", [*_config(runs, defaults)]))
    missing = [
        f"{run.name}: {text}" if len(runs) > 1 else text for run in runs for text in run.missing
    ]
    shown = any(section.has_gallery for section in sections)
    return Page(title, asked, came, fine, sections, missing, roles if shown else ())


# --- words


def _detector(cfg: CfgNode) -> str:
    """``BinaryFCOS on build_resnet_backbone with weighted_entropy (η 0.125)``."""
    loss = "no unsupervised loss" if cfg.WEND.LOSS == "none" else cfg.WEND.LOSS.replace("_", " ")
    backbone = cfg.MODEL.BACKBONE.NAME.removeprefix("build_").removesuffix("_backbone")
    return f"{cfg.MODEL.META_ARCHITECTURE} on {backbone} with {loss} (η {cfg.WEND.ETA:g})"


def _saw(cfg: CfgNode) -> str:
    """What of the images the detector is tested on."""
    return f"detector saw {describe_view(view_of(cfg).name)}"


def _length(cfg: CfgNode) -> str:
    if cfg.WEND.EPOCHS:
        return f"{cfg.WEND.EPOCHS} epochs"
    return f"{cfg.SOLVER.MAX_ITER} iterations"


def _asked(run: RunFolder) -> str:
    learned = " and ".join(
        f"the {KINDS[data_set.train_on]} of {len(data_set.training_boxes.with_boxes)} images of "
        f"{data_set.name}"
        for data_set in run.training
    )
    learned = learned or f"boxes of {', '.join(run.cfg.DATASETS.TRAIN) or 'no data set'}"
    return f"Asked: {_detector(run.cfg)}, trained for {_length(run.cfg)} on {learned}."


def _how(runs: Sequence[RunFolder]) -> str:
    """How the first numbers were made; empty where there are none."""
    for run in runs:
        for name, test in run.tests.items():
            for result in test.scores.values():
                return f"{how(result, run.reference.get(name, ''))} The {_saw(run.cfg)}."
    return ""


def _came(run: RunFolder) -> str:
    said = [
        _of_test(name, test, run.reference.get(name, ""))
        for name, test in run.tests.items()
        if test.detections is not None
    ]
    said += _of_stored(run)
    if said:
        return " ".join(said)
    seen = max((int(line.x[-1]) + 1 for line in _losses(run).values() if len(line.x)), default=0)
    if not seen:
        return "It has neither a log of its training nor an evaluation yet."
    return (
        f"It has not been evaluated yet: the log ends at iteration {seen} of "
        f"{run.cfg.SOLVER.MAX_ITER}."
    )


def _of_test(name: str, test: Tested, reference: str) -> str:
    if test.scores:
        return verdict(next(iter(test.scores.values())), name, test.pseudo, reference)
    detections, pseudo = test.detections, test.data_set.pseudo_boxes
    assert detections is not None
    said = (
        f"{len(detections.boxes)} boxes on {len(detections)} images of {name}; no image has a true "
        f"box, so nothing here says how good they are."
    )
    both = np.flatnonzero((pseudo.counts > 0) & (detections.counts > 0))
    if len(both):
        ours, theirs = (first_of_each(table)[0][both] for table in (detections, pseudo))
        share = 100 * float((paired_iou(ours, theirs) > 0.5).mean())
        said += (
            f" The best box agrees with the first pseudo box (IoU > 0.5) in {share:.1f} % of "
            f"{len(both)} images, which is no accuracy."
        )
    return said


def _of_stored(run: RunFolder) -> Iterator[str]:
    """Of test sets that cannot be read here, what their evaluation wrote."""
    for name, content in run.stored.items():
        if name in run.tests:
            continue
        protocol, numbers = next(iter(content.items()))
        fixed = numbers.get("baseline", {}).get(CURVE_METRIC)
        beside = "" if fixed is None else f"; one fixed box reaches {fixed:.1f} %"
        yield (
            f"The best box was right in {numbers[CURVE_METRIC]:.1f} % of "
            f"{numbers.get('num_images', '?')} images of {name} (GT-known Loc, protocol "
            f"{protocol}), as the evaluation wrote{beside}."
        )


def _several(runs: Sequence[RunFolder]) -> tuple[str, str, str]:
    names = ", ".join(run.name for run in runs)
    asked = f"Asked: {len(runs)} runs beside each other: {names}."
    shared = _shared(runs)
    if not shared:
        return (
            asked,
            "No two of them have numbers on the same data set here, so they cannot be compared "
            "image by image.",
            _how(runs),
        )
    name, tests = next(iter(shared.items()))
    scores = {label: next(iter(test.scores.values())) for label, test in tests.items()}
    rates = "; ".join(f"{label} {rate(result)}" for label, result in scores.items())
    return (
        asked,
        f"On {name} the best box {_right(runs, name)}: {rates}.",
        f"{_how(runs)} Whether one run is better than another says wend compare.",
    )


def _right(runs: Sequence[RunFolder], name: str) -> str:
    """What a hit on a data set means, in words."""
    words = next((run.reference[name] for run in runs if name in run.reference), "")
    return f"agrees with {words}" if words else "is right"


def _shared(runs: Sequence[RunFolder]) -> dict[str, dict[str, Tested]]:
    """Data sets on which two or more runs have numbers, of the same images -> run -> its test."""
    sets: dict[str, dict[str, Tested]] = {}
    for run in runs:
        for name, test in run.tests.items():
            if test.scores:
                sets.setdefault(name, {})[run.name] = test
    return {name: tests for name, tests in sets.items() if len(tests) > 1}


# --- one run


def _sections(run: RunFolder, number: int) -> Iterator[Section]:
    several = len(run.tests) > 1
    galleries: list[Any] = []
    for name, test in run.tests.items():
        if test.scores:
            caption = f"{name}: {len(test.data_set)} images; per cent; the {_saw(run.cfg)}."
            if name in run.reference:
                caption += f" Scored against {run.reference[name]}, not against the truth."
            notes = [f"fixed boxes: K boxes that never look at the image, {_fixed(test)}"]
            table = score_part(test.scores, test.pseudo, notes, caption)
            title = f"Numbers on {name}" if several else "Numbers"
            yield Section(title, [table, score_figures(test.scores)])
        galleries += _galleries(test, run, number, f", {name}" if several else "")
    for name in run.stored:
        if name not in run.tests:
            yield Section(f"Numbers on {name}", [*_stored_table(run, name)])
    if galleries:
        yield Section("Images", galleries)


def _fixed(test: Tested) -> str:
    evaluation = test.evaluation
    return evaluation.why_no_baseline if evaluation.baseline is None else evaluation.baseline.name


def _stored_table(run: RunFolder, name: str) -> Iterator[Table | Words]:
    """The table that an evaluation wrote, where its data set cannot be read any more."""
    folder = evaluation_folder(run.path, name)
    files = {kind: folder / name for name, kind in TABLE_FILES.items()}
    table, markdown = files["csv"], files["github"]
    if not table.is_file():
        yield Words([f"The evaluation's table {table} is not there."])
        return
    header, *rows = csv.reader(read_lines(table, "the table of an evaluation"))
    notes = []
    if markdown.is_file():
        notes = [n[2:] for n in read_lines(markdown, "the notes of an evaluation") if n[:2] == "- "]
    filled = [[cell or DASH for cell in row] for row in rows if row]
    yield plain_table(header, filled, f"{name}, as its evaluation wrote it.", notes)


def _galleries(test: Tested, run: RunFolder, number: int, suffix: str) -> Iterator[Gallery | Words]:
    data_set, detections = test.data_set, test.detections
    if detections is None:
        yield Words(["No boxes of the detector yet."])
        return
    first = next(iter(test.scores.values()), None)
    per_image = None if first is None else first.per_image
    shown = Shown(
        data_set,
        [(OURS, detections)],
        run.threshold,
        test.evaluation.max_boxes,
        per_image,
    )
    if run.threshold is not None:
        chosen = run.advice.get("how", "")
        yield Words(
            [
                f"Shown are boxes that score at least {score_text(run.threshold)}, as the run "
                f"advises{f' ({chosen})' if chosen else ''}."
            ]
        )
    if per_image is None:
        yield Words(
            [
                "No image has a true box: there are no galleries of the best boxes and of misses, "
                "only of what can be seen without truth."
            ]
        )
    choices = detector_choices(detections, data_set.pseudo_boxes, per_image, run.threshold, number)
    made = [
        replace(gallery, title=f"{gallery.title}{suffix}")
        for choice in choices
        if (gallery := shown.gallery(choice, number)) is not None
    ]
    if not made:
        yield Words([f"None of the images of {data_set.name} that were looked for is there."])
    yield from made
    if not len(data_set.pseudo_boxes.boxes):
        yield Words(
            [
                f"{data_set.name} has no pseudo boxes, so there is no gallery of disagreement with "
                f"them (candidates for relabelling)."
            ]
        )


# --- several runs


def _sections_of_several(runs: Sequence[RunFolder], number: int) -> Iterator[Section]:
    table = _table_of_several(runs)
    parts: list[Any] = [table] if table.rows else [Words(["No run has numbers yet."])]
    shared = _shared(runs)
    recalls: list[Figure] = []
    for name, tests in shared.items():
        for protocol in next(iter(tests.values())).scores:
            results = {
                label: test.scores[protocol]
                for label, test in tests.items()
                if protocol in test.scores
            }
            recalls.append(recall_of_several(f"Recall at K boxes, {name}, {protocol}", results))
    yield Section("Numbers", [*parts, *([Figures(recalls)] if recalls else [])])
    advised = {run.name: run.threshold for run in runs}
    galleries = [
        gallery
        for name, tests in shared.items()
        for gallery in _side_by_side(name, tests, advised, number)
    ]
    if galleries:
        yield Section("The same images", galleries)


def _table_of_several(runs: Sequence[RunFolder]) -> Table:
    """A row for each run, data set and protocol with the usual numbers.

    Of data sets that cannot be read here, those that the run's own evaluation wrote.
    """
    reference = {name: words for run in runs for name, words in run.reference.items()}
    rows_of: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}
    for run in runs:
        scored = {
            name: {protocol: result.to_dict() for protocol, result in test.scores.items()}
            for name, test in run.tests.items()
        }
        for name, numbers in {**run.stored, **scored}.items():
            for protocol, values in numbers.items():
                rows_of.setdefault((name, protocol), []).append((run.name, values))
    every = [values for rows in rows_of.values() for _, values in rows]
    shown = [name for name in SIDE_BY_SIDE if any(name in values for values in every)]
    rows: list[list[str]] = []
    groups: dict[int, str] = {}
    for (name, protocol), of_set in rows_of.items():
        against = f", scored against {reference[name]}, no truth" if name in reference else ""
        groups[len(rows)] = f"{name}, {_described(protocol)}{against}"
        for label, values in of_set:
            row = [label]
            for metric in shown:
                row.append(METRICS.get(metric).text(values.get(metric)).replace("-", DASH))
                if metric == CURVE_METRIC:
                    row.append(_interval(values))
            if "gt_known_loc_multi" in shown:
                row.append(str(values.get("max_boxes", DASH)))
            fixed = values.get("baseline", {}).get(CURVE_METRIC)
            row.append(DASH if fixed is None else GT_KNOWN.metric.text(fixed))
            rows.append([*row, str(values.get("num_images", DASH))])
    header = ["run"]
    for metric in shown:
        header.append(METRICS.get(metric).heading)
        header += ["interval"] if metric == CURVE_METRIC else []
    header += ["K of multi"] if "gt_known_loc_multi" in shown else []
    notes = [
        "per cent, but for IoU; fixed box: GT-known Loc of one box that never looks at the image; "
        "interval: 95 %"
    ]
    return Table([*header, "fixed box", "images"], rows, "", notes, groups)


def _described(protocol: str) -> str:
    """What a protocol is; its name alone where it is a file that is not here."""
    try:
        return get_protocol(protocol).describe()
    except InputError:
        return protocol


def _interval(values: Mapping[str, Any]) -> str:
    ends = values.get("intervals", {}).get(CURVE_METRIC)
    text = GT_KNOWN.metric.text
    return f"{text(ends[0])} {DASH} {text(ends[1])}" if ends else DASH


def _side_by_side(
    name: str, tests: Mapping[str, Tested], advised: Mapping[str, float | None], number: int
) -> Iterator[Gallery]:
    """The same images with each run's boxes: those that the runs disagree on, and some others."""
    first, *others = tests.values()
    for test in others:
        if list(test.data_set.image_ids) != list(first.data_set.image_ids):
            return
    firsts = [next(iter(test.scores.values())).per_image for test in tests.values()]
    same = all(np.array_equal(each.images, firsts[0].images) for each in firsts)
    shown = {
        label: Shown(
            *(test.data_set, [(OURS, test.detections)], advised[label]),
            *(test.evaluation.max_boxes, per_image),
        )
        for (label, test), per_image in zip(tests.items(), firsts, strict=True)
        if test.detections is not None
    }
    kinds = [
        (
            "Spread evenly",
            "Images at equal steps through the data set.",
            _even(first.data_set, number),
        )
    ]
    if same:
        kinds.insert(
            0,
            (
                "Where the runs differ",
                f"Images that some runs hit and others miss under {firsts[0].protocol.name}; then "
                f"by the difference of their IoUs.",
                differing(firsts),
            ),
        )
    for title, meaning, images in kinds:
        picks = next(iter(shown.values())).there(images, number)
        tiles = [
            each.tile(i, lead=[label]) for i in picks.tolist() for label, each in shown.items()
        ]
        if tiles:
            columns = f"A row for each image, a column for each run: {', '.join(shown)}."
            yield Gallery(f"{title}: {name}", f"{meaning} {columns}", tiles, len(shown))


def _even(data_set: DataSet, number: int) -> np.ndarray:
    return spread_evenly(np.arange(len(data_set)), number).images


# --- training, pseudo boxes, config


def _losses(run: RunFolder) -> Mapping[str, Line]:
    return run.losses.lines if run.losses is not None else {}


def _training(runs: Sequence[RunFolder]) -> Iterator[Any]:
    figures: list[Figure] = []
    alone = len(runs) == 1
    if alone:
        losses = dict(_losses(runs[0]))
        title = "Losses"
    else:
        losses = {run.name: _losses(run)[TOTAL_LOSS] for run in runs if TOTAL_LOSS in _losses(run)}
        title = "Total loss"
    if losses:
        ends = "; ".join(f"{name} ends at {line.y[-1]:.3g}" for name, line in losses.items())
        drawn = line_figure(losses, "iteration", "loss", log=True)
        figures.append(figure(title, drawn, f"{title} over iterations: {ends}."))
    titles = {(dataset, protocol) for run in runs for dataset, protocol, _ in run.curves}
    for dataset, protocol in sorted(titles):
        lines, baseline = {}, {}
        for run in runs:
            if (dataset, protocol, CURVE_METRIC) in run.curves:
                label = METRICS.get(CURVE_METRIC).title if alone else run.name
                lines[label] = run.curves[dataset, protocol, CURVE_METRIC]
            multi = run.curves.get((dataset, protocol, "gt_known_loc_multi"))
            if alone and multi is not None:
                lines[f"one of {run.cfg.WEND.MAX_BOXES} boxes"] = multi
            test = run.tests.get(dataset)
            if test is not None and protocol in test.scores:
                value = test.scores[protocol].cells[GT_KNOWN].baseline
                if value is not None and lines:
                    x = next(iter(lines.values())).x
                    baseline["a fixed box"] = Line(x, np.full(len(x), value))
        if lines:
            names = (_unit_of_curves(runs), "images that are right (%)")
            drawn = line_figure(lines, *names, baseline=baseline, per_cent=True)
            ends = "; ".join(f"{n} ends at {line.y[-1]:.1f} %" for n, line in lines.items())
            figures.append(
                figure(
                    f"GT-known Loc, {dataset}, {protocol}", drawn, f"After each evaluation: {ends}."
                )
            )
    held_out = _held_out_figure(runs)
    figures += [] if held_out is None else [held_out]
    if figures:
        yield Figures(figures)
    for run in runs:
        if run.best is not None:
            yield Words([_best(run, run.best)])
        if not _losses(run):
            yield Words([f"{run.name}: there is no log of losses."])
        if not run.curves:
            yield Words([f"{run.name}: there is no curve of evaluations."])


def _unit_of_curves(runs: Sequence[RunFolder]) -> str:
    return "epoch" if all(run.cfg.WEND.EPOCHS for run in runs) else "iteration"


def _held_out_figure(runs: Sequence[RunFolder]) -> Figure | None:
    """The losses on the images that were held out: a run's terms, or several runs' totals."""
    alone = len(runs) == 1
    lines = {
        name if alone else run.name: line
        for run in runs
        for (data_set, _, name), line in run.curves.items()
        if data_set == HELD_OUT and (alone or name == TOTAL_LOSS)
    }
    if not lines:
        return None
    drawn = line_figure(lines, _unit_of_curves(runs), "loss", log=True)
    lowest = "; ".join(
        f"{name} is lowest at {line.x[np.nanargmin(line.y)]:g} ({np.nanmin(line.y):.3g})"
        for name, line in lines.items()
        if np.isfinite(line.y).any()
    )
    return figure("Loss on held-out images", drawn, f"Images that are never trained on: {lowest}.")


def _best(run: RunFolder, best: Best) -> str:
    """Which evaluation was the best one by the number that the run chose by."""
    if best.value is None:
        return f"{run.name}: {best.name} was never finite; no evaluation is the best."
    return (
        f"{run.name}: the best evaluation by {best.name} is that after {best.iteration} iterations "
        f"({best.value:.6g}), whose checkpoint is {BEST_WEIGHTS}; evaluations since then: "
        f"{best.without}."
    )


def _pseudo_boxes(runs: Sequence[RunFolder]) -> Iterator[Any]:
    rows: list[list[str]] = []
    figures: list[Figure] = []
    seen: set[str] = set()
    notes = ["first box right: GT-known Loc, where the truth of all training images is known"]
    for run in runs:
        for data_set in run.training:
            if data_set.name in seen or data_set.train_on == "gt_boxes":
                continue
            seen.add(data_set.name)
            boxes = data_set.pseudo_boxes
            held, total = len(boxes.with_boxes), len(data_set)
            scores = next(iter(pseudo_scores(run, data_set).values()), None)
            right = DASH if scores is None else f"{scores.cells[GT_KNOWN].value:.2f}"
            known = DASH if scores is None else scores.protocol.name
            rows.append(
                [
                    *(data_set.name, str(total), f"{100 * held / max(total, 1):.1f}"),
                    *(str(len(boxes.boxes)), f"{len(boxes.boxes) / max(held, 1):.2f}"),
                    *shape_rows(boxes, data_set.frame_sizes),
                    *(right, known),
                ]
            )
            figures += histogram_figures(data_set)
            several = np.bincount(boxes.counts.clip(max=MOST_COUNTED))
            texts = [f"{number}: {images}" for number, images in enumerate(several) if images]
            notes.append(f"{data_set.name}, images by their number of boxes: {', '.join(texts)}")
    if not rows:
        return
    header = [
        *("data set", "images", "with a box (%)", "boxes", "boxes per image"),
        *("area / image, 5 / 50 / 95 %", "width / height, 5 / 50 / 95 %"),
        *("first box right (%)", "protocol"),
    ]
    yield Table(header, rows, "The boxes that the detector learned from.", notes)
    yield Figures(figures)


def histogram_figures(data_set: DataSet) -> Iterator[Figure]:
    """Shapes of a data set's pseudo boxes, and how many an image has."""
    histograms = shape_histograms(data_set.pseudo_boxes, data_set.frame_sizes)
    for title, values in histograms.items():
        name = f"{title}, {data_set.name}"
        yield figure(name, histogram_figure(title, values), f"Histogram of {name} of the boxes.")


def _config(runs: Sequence[RunFolder], defaults: CfgNode | None) -> Iterator[Any]:
    flat = [dict(leaves(run.cfg)) for run in runs]
    if len(runs) > 1:
        names = sorted(set(chain.from_iterable(flat)))
        rows = [
            [name, *(_value(each.get(name)) for each in flat)]
            for name in names
            if len({_value(each.get(name)) for each in flat}) > 1 and name != "OUTPUT_DIR"
        ]
        header = ["entry", *(run.name for run in runs)]
        yield (
            Table(header, rows, "Entries in which the runs differ.")
            if rows
            else Words(["The configs do not differ."])
        )
    elif defaults is not None:
        usual = dict(leaves(defaults))
        rows = [
            [name, _value(value), _value(usual[name])]
            for name, value in flat[0].items()
            if name in usual and _value(value) != _value(usual[name]) and name != "OUTPUT_DIR"
        ]
        notes = ["entries that Detectron2 alone has stand in the whole config below, uncompared"]
        yield Table(["entry", "here", "default"], rows, "What differs from the defaults.", notes)
    for run in runs:
        title = "The whole config" if len(runs) == 1 else f"The whole config of {run.name}"
        yield Folded(title, [Code(run.cfg.dump())])
    rows = [[run.name, *_machine(run)] for run in runs]
    header = ["run", "machine", "versions", "seconds per iteration"]
    yield Table(header, rows, "Where it ran, as far as its files say.")


def _machine(run: RunFolder) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in run.versions.items())
    machine = ", ".join(f"{value}" for value in run.machine.values())
    seconds = None if run.losses is None else run.losses.seconds
    return [
        machine or "not recorded",
        versions or "not recorded",
        DASH if seconds is None else f"{seconds:.3f}",
    ]


def _value(value: Any) -> str:
    """A value's text, the same for a list and a tuple of the same."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return DASH if value is None else str(value) if value != "" else "(empty)"
