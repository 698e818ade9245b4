"""The report of ``wend boxes report`` as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wend.evaluation.tables import format_table
from wend.pseudo_boxes import AttachReport
from wend.reports.boxes_numbers import QUANTILES


def report_text(
    names: Sequence[str],
    reports: Sequence[AttachReport],
    numbers: Mapping,
    wrong: Sequence[str] = (),
) -> str:
    """The report.

    Args:
        names: the name of one source, or of two.
        reports: the reports of their joins.
        numbers: as :func:`wend.reports.boxes_numbers.describe` returns them.
        wrong: what is implausible, a sentence each.
    """
    parts = [f"probably wrong: {sentence}" for sentence in wrong]
    parts.append(reports[0].text([exif_row(numbers["exif"])]))
    parts.append(f"coverage: {numbers['coverage']:.2f} % of the images")
    parts.append(format_table(*shape_rows(numbers)))
    for name, report in zip(names[1:], reports[1:], strict=True):
        other = numbers["other"]
        note = (
            f"images with boxes of only {names[0]}: {other['only_first']}, of only {name}: "
            f"{other['only_other']}"
        )
        parts += [report.text(), format_table(*agreement_rows(other), [note])]
    truth = truth_rows(names, numbers)
    if truth:
        header = ["boxes", "protocol", "images", "GT-known Loc (%)", "any box (%)", "mean IoU"]
        notes = [
            "of the images whose true boxes are known; an image without a box is a miss",
            "whole image, centre box and fixed boxes never look at the image: what the source's "
            "boxes are worth is how much better they are",
        ]
        parts.append(format_table(header, truth, notes))
    else:
        parts.append("GT-known Loc: no true box is known")
    return "\n\n".join(parts)


def shape_rows(numbers: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the boxes' shapes."""
    header = ["boxes", "number", "mean", *(f"{q} %" for q in QUANTILES)]
    rows = [
        [title, str(row["number"])]
        + [f"{value:.3f}" for key, value in row.items() if key != "number"]
        for title, row in numbers["shapes"].items()
    ]
    return header, rows


def truth_rows(names: Sequence[str], numbers: Mapping) -> list[list[str]]:
    """Rows of the sources' GT-known Loc, and of boxes that never look at the image."""
    rows = _truth_rows(names[0], numbers["truth"])
    for name in names[1:]:
        rows += _truth_rows(name, numbers["other"]["truth"])
    for protocol, baselines in numbers["baselines"].items():
        for name, scores in baselines.items():
            rows += _truth_rows(name, {protocol: scores})
    return rows


def exif_row(exif: Mapping) -> tuple[str, str, str]:
    """The row of images that EXIF would turn."""
    kinds = ", ".join(f"{value}: {number}" for value, number in exif["orientations"].items())
    seen = f"of {exif['looked_at']} looked at; exif: {exif['policy']}"
    if not exif["looked_at"]:
        seen = "no image file is there"
    return (
        "images with an EXIF orientation, not upright",
        str(exif["turned"]),
        f"{seen} (orientation {kinds})" if kinds else seen,
    )


def _truth_rows(name: str, scores: Mapping[str, Mapping]) -> list[list[str]]:
    return [
        [
            name,
            protocol,
            str(numbers["images"]),
            f"{numbers['gt_known_loc']:.2f}",
            f"{numbers['gt_known_loc_any_box']:.2f}",
            f"{numbers['mean_iou']:.3f}",
        ]
        for protocol, numbers in scores.items()
    ]


def agreement_rows(other: Mapping) -> tuple[list[str], list[list[str]]]:
    """Header and rows of how far two sources agree."""
    header = ["IoU of", "images", "IoU > 0.5 (%)", "mean", *(f"{q} %" for q in QUANTILES)]
    rows = [
        [title, str(row["number"]), f"{row['share_above_half']:.2f}", f"{row['mean']:.3f}"]
        + [f"{row[f'p{q}']:.3f}" for q in QUANTILES]
        for title, row in other["agreement"].items()
    ]
    return header, rows
