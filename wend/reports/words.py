"""What came out, in sentences that follow from the numbers, good or bad."""

from __future__ import annotations

from collections.abc import Mapping

from wend.evaluation.metrics import gt_known_loc
from wend.evaluation.per_image import PerImage
from wend.evaluation.scoring import Column, ProtocolScores
from wend.evaluation.statistics import PairedDifference, paired_difference

GT_KNOWN = Column(gt_known_loc)
LEVEL = 0.95  # of a comparison, where the numbers have no intervals


def rate(result: ProtocolScores) -> str:
    """``81.7 % of 300 images (77.0 to 85.6)``."""
    cell = result.cells[GT_KNOWN]
    text = f"{cell.value:.1f} % of {len(result.per_image)} images"
    if cell.interval is not None:
        text += f" ({cell.interval.low:.1f} to {cell.interval.high:.1f})"
    return text


def how(result: ProtocolScores, reference: str = "") -> str:
    """What the numbers of a sentence are: metric, test, protocol, intervals."""
    truth, right = reference or "the truth", "Agrees" if reference else "Right"
    protocol, level = result.protocol, 100 * (result.level or LEVEL)
    compared = f"{'>' if protocol.strictness(classified=False) else '>='}"
    thresholds = " / ".join(f"{t:g}" for t in protocol.thresholds)
    average = "mean over classes" if protocol.average == "class" else "mean over images"
    return (
        f"{right}: IoU {compared} {thresholds} with {truth} (GT-known Loc, protocol "
        f"{protocol.name}, {average}). In brackets: {level:g} % intervals. Better and worse: the "
        f"{level:g} % interval of the difference on the same images excludes zero."
        + (
            f" There is no truth: {reference} may be wrong themselves, so how often boxes are "
            f"right is not known."
            if reference
            else ""
        )
    )


def verdict(
    result: ProtocolScores,
    name: str,
    pseudo: Mapping[str, ProtocolScores] | None = None,
    reference: str = "",
) -> str:
    """The headline of detections, beside fixed boxes and the pseudo boxes of the same images.

    Args:
        name: of the data set.
        pseudo: protocol -> numbers of the pseudo boxes; empty where there are none.
        reference: what the boxes to score against are, where they are not the truth.
    """
    right = f"agrees with {reference}" if reference else "is right"
    said = [f"On {name} the best box {right} in {rate(result)}"]
    if result.fixed is None:
        said.append("there are no fixed boxes to compare it with")
    else:
        said.append(_beside(result, result.fixed, "one fixed box for all images"))
    theirs = (pseudo or {}).get(result.protocol.name)
    if theirs is not None:
        said.append(_beside(result, theirs.per_image, "the pseudo boxes of the same images"))
    return f"{said[0]}: {' and '.join(said[1:])}."


def _beside(result: ProtocolScores, other: PerImage, name: str) -> str:
    """``better than one fixed box for all images (13.0 %)``, or that it is not."""
    ours, theirs = (gt_known_loc.values(each) for each in (result.per_image, other))
    classes = gt_known_loc.averaged_classes(result.per_image)
    level = result.level or LEVEL
    test = paired_difference(ours, theirs, classes, bounds=gt_known_loc.bounds, level=level)
    value = gt_known_loc.average_of(other, theirs)
    return f"{better_or_worse(test)} {name} ({value:.1f} %)"


def better_or_worse(test: PairedDifference) -> str:
    """Better or worse where the interval of the difference excludes zero, else not better."""
    if test.low is None or test.high is None or test.low <= 0 <= test.high:
        return "NOT better than"
    return "better than" if test.difference > 0 else "WORSE than"


def score_text(score: float) -> str:
    """A score with three digits behind the point, a tiny one with its exponent."""
    return f"{score:.3f}" if score >= 0.001 or score == 0 else f"{score:.1e}"
