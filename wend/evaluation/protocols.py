"""Evaluation protocols as data: what a number means is a named, recorded object.

The field's papers score in different frames, and the same boxes differ by 5 points between them
(``docs/protocols.md``). A protocol is therefore never implied: it is chosen by name and written
beside every number. A user's own protocol is a YAML file with fields of :class:`EvalProtocol`.

Shape letters: N = boxes, T = criteria (a threshold and whether it must be exceeded).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np

from wend.errors import InputError, shown
from wend.files import read_lines
from wend.structures.box_table import BoxTable
from wend.structures.frame import BoxFrame
from wend.yaml_files import read_yaml


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _side(value: object) -> bool:
    return isinstance(value, int) and _whole(value) and value <= MAX_SIDE


def _numbers(value: object) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(_whole(v) or isinstance(v, float) for v in values)


MAX_SIDE = 100_000  # pixels of a frame
_CLIPS = ("none", "frame", "last-pixel")
_CHOICES = {
    "clip": _CLIPS,
    "clip_truth": (None, *_CLIPS),
    "truncate": ("none", "multiply-first", "divide-first"),
    "pixel_offset": (0, 1),
    "truth": ("all", "first"),
    "average": ("image", "class"),
}


# What a field must be, beyond being one of its allowed values
_TYPES = {
    "name": ("a text", lambda v: isinstance(v, str) and v != ""),
    "resize": (f"a whole number of at most {MAX_SIDE}, or null", lambda v: v is None or _side(v)),
    "crop": (f"a whole number of at most {MAX_SIDE}, or null", lambda v: v is None or _side(v)),
    "pixel_offset": ("0 or 1", _whole),
    "iou_threshold": ("a number or several", _numbers),
    "strict": ("true or false", lambda v: isinstance(v, bool)),
    "strict_classified": ("true, false or null", lambda v: v is None or isinstance(v, bool)),
    "blacklist": ("image keys", lambda v: type(v) is tuple and {*map(type, v)} <= {str}),
    "source": ("a text", lambda v: isinstance(v, str)),
}


@dataclass(frozen=True)
class EvalProtocol:
    """How boxes are compared and hits are averaged.

    There is no class filter (PSOL, C2AM: only XML objects of the image's class), because true boxes
    carry no class here: it is the business of whoever lists them.

    Attributes:
        name: what the protocol is called in configs, files and tables.
        resize, crop: the frame that truth and detections are taken to: the image squashed to
            ``resize``², its centre ``crop``² (pixels; equal for a squash without crop); both None
            for original pixels.
        clip: where detections are cut: "frame" (0..crop), "last-pixel" (0..crop - 1) or "none", as
            most peers leave a box that reaches out.
        clip_truth: the same for true boxes; None means "frame" with a frame and "none" in original
            pixels, where there is no other.
        truncate: whether the mapped (and clipped) coordinates lose their fraction, and in which
            order they were computed, which decides a few whole pixels: "none", "multiply-first"
            (x * resize / width) or "divide-first" (x / width * resize).
        pixel_offset: 0 for continuous boxes (side x1 - x0), 1 for boxes of whole pixels of which
            x1 is the last (side x1 - x0 + 1).
        iou_threshold: a box is correct if its IoU with a true box of the image passes this, in
            (0, 1). Several: every metric is the mean of its values at each.
        strict: pass means ``>`` (True) or ``>=`` (False).
        strict_classified: the same for the metrics that need a class (Top-1, Top-5); None to test
            them as ``strict`` says.
        truth: "all": any true box of the image counts; "first": only the first one listed.
        average: "image": mean over images; "class": mean over classes of the mean over the class's
            images (classes without an image do not count).
        blacklist: keys (``<class folder>/<file>``) of images that are left out of the denominator.
        source: the code whose arithmetic it follows.
    """

    name: str
    resize: int | None = None
    crop: int | None = None
    clip: str = "none"
    clip_truth: str | None = None
    truncate: str = "none"
    pixel_offset: int = 0
    iou_threshold: float | tuple[float, ...] = 0.5
    strict: bool = True
    strict_classified: bool | None = None
    truth: str = "all"
    average: str = "image"
    blacklist: tuple[str, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("iou_threshold", "blacklist"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_types()
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                self._fail(f"{name} must be one of {allowed}, got {shown(getattr(self, name))}")
        self._check_frame()
        if not self.thresholds or not all(0 < t < 1 for t in self.thresholds):
            self._fail(f"iou_threshold must be in (0, 1), got {self.iou_threshold}")
        if len(set(self.thresholds)) < len(self.thresholds):
            self._fail(f"iou_threshold holds a number twice: {self.iou_threshold}")

    def _fail(self, message: str) -> None:
        name = self.name if isinstance(self.name, str) else shown(self.name)
        raise InputError(f"protocol {name}: {message}")

    def _check_types(self) -> None:
        for name, (expected, is_right) in _TYPES.items():
            if not is_right(getattr(self, name)):
                self._fail(f"{name} must be {expected}, got {shown(getattr(self, name))}")

    def _check_frame(self) -> None:
        if (self.resize is None) != (self.crop is None):
            self._fail("resize and crop are both given or both None (null)")
        if self.frame is not None and not 0 < self.frame.crop <= self.frame.resize:
            self._fail(f"expected 0 < crop <= resize, got {self.crop} and {self.resize}")
        clips = {self.clip, self.clip_truth} & {"frame", "last-pixel"}
        if self.frame is None and clips:
            self._fail(f"clip needs a frame (resize and crop), got {clips.pop()!r} without")

    @property
    def frame(self) -> BoxFrame | None:
        """The frame of ``resize`` and ``crop``; None for original pixels."""
        if self.resize is None or self.crop is None:
            return None
        return BoxFrame(self.resize, self.crop)

    @property
    def cuts_truth(self) -> bool:
        """Whether true boxes lose what lies outside a crop, which changes their IoU."""
        frame = self.frame
        return frame is not None and frame.crop < frame.resize and self._clip(True) != "none"

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The IoU thresholds, one or several."""
        if isinstance(self.iou_threshold, tuple):
            return self.iou_threshold
        return (self.iou_threshold,)

    @property
    def criteria(self) -> tuple[tuple[float, bool], ...]:
        """The T distinct pairs of a threshold and whether it must be exceeded."""
        stricts = dict.fromkeys((self.strict, self.strictness(classified=True)))
        return tuple((t, strict) for strict in stricts for t in self.thresholds)

    def strictness(self, *, classified: bool) -> bool:
        """Whether a metric that needs a class (or one that does not) tests with ``>``."""
        if classified and self.strict_classified is not None:
            return self.strict_classified
        return self.strict

    def frame_of(self, table: BoxTable) -> BoxFrame | None:
        """The frame in which this protocol takes a table's boxes; None for original pixels.

        Boxes that were given in a frame are taken from there to the protocol's frame, so that they
        do not travel through original pixels, which may change a whole number.
        """
        return None if self.frame is None or table.given is None else table.given.frame

    def to_frame(
        self, table: BoxTable, rows: np.ndarray, sizes: np.ndarray, *, truth: bool = False
    ) -> np.ndarray:
        """Boxes (n, 4) of some rows (n,) of a table in the protocol's frame.

        A corner is clipped at its own side only, so that a box outside the frame ends up inside
        out and without area.

        Args:
            sizes: (n, 2) width and height of each one's image.
        """
        source = self.frame_of(table)
        boxes = table.boxes if source is None else table.given_boxes
        widths, heights = sizes.T
        return np.stack(self.columns_to_frame(boxes[rows].T, widths, heights, truth, source), 1)

    def columns_to_frame(
        self,
        columns: Iterable[np.ndarray],
        widths: np.ndarray,
        heights: np.ndarray,
        truth: bool,
        source: BoxFrame | None = None,
    ) -> list[np.ndarray]:
        """The same of the four coordinates apart: x0, y0, x1, y1, each (N,).

        Args:
            columns: x0, y0, x1, y1, in original pixels of images of sizes (N,), or in ``source``.
            truth: whether they are true boxes.
            source: the frame in which they are.
        """
        mapped = list(columns)
        if source != self.frame:
            if source is not None:  # its pixels are those of an image of its own size
                mapped = [x + source.offset for x in mapped]
                widths = heights = np.array(source.resize, np.float64)
            axes = (widths, heights, widths, heights)
            mapped = [self._map(x, size) for x, size in zip(mapped, axes, strict=True)]
        if self.frame is not None and (clip := self._clip(truth)) != "none":
            last = self.frame.crop - (clip == "last-pixel")
            mapped = [np.maximum(x, 0.0) for x in mapped[:2]] + [
                np.minimum(x, last) for x in mapped[2:]
            ]
        return mapped if self.truncate == "none" else [np.trunc(x) for x in mapped]

    def _map(self, x: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Coordinates (N,) of one axis to the frame, images being ``size`` (N,) long there."""
        if self.frame is None:
            return x
        resize, offset = self.frame.resize, self.frame.offset
        if self.truncate == "divide-first":
            x = x / size * resize
        elif self.truncate == "multiply-first":
            x = x * resize / size
        else:
            x = x * (resize / size)
        return x - offset if offset else x

    def _clip(self, truth: bool) -> str:
        if not truth:
            return self.clip
        if self.clip_truth is not None:
            return self.clip_truth
        return "none" if self.frame is None else "frame"

    def to_dict(self) -> dict:
        """All fields, for ``metrics.json``."""
        return asdict(self)

    def describe(self) -> str:
        """What the numbers mean, in one line."""
        parts = [self._describe_frame(), self._describe_test()]
        if self.truth == "first":
            parts.append("first true box only")
        over = {"image": "mean over images", "class": "mean of per-class accuracies"}
        parts.append(over[self.average])
        if self.blacklist:
            parts.append(f"{len(self.blacklist)} images left out")
        return f"{self.name}: " + "; ".join(parts)

    def _describe_frame(self) -> str:
        if self.frame is None:
            return "original pixels" + (", truncated" if self.truncate != "none" else "")
        resize, crop = self.frame
        frame = f"{resize}x{resize} squash"
        frame += f", centre crop {crop}" if crop < resize else ", no crop"
        says = {"none": "not clipped", "frame": "clipped to it", "last-pixel": "cut at last pixel"}
        truth, boxes = says[self._clip(True)], says[self._clip(False)]
        clips = f"truth {truth}, boxes {boxes}" if truth != boxes else f"truth and boxes {truth}"
        frame += f", {clips}"
        return frame + (", truncated to whole pixels" if self.truncate != "none" else "")

    def _describe_test(self) -> str:
        sign, other = (
            ">" if self.strictness(classified=classified) else ">=" for classified in (False, True)
        )
        thresholds = ", ".join(f"{t:g}" for t in self.thresholds)
        several = " (mean of)" if len(self.thresholds) > 1 else ""
        plus = ' with "+1" pixel' if self.pixel_offset else ""
        mixed = f" ({other} for Top-1 and Top-5)" if other != sign else ""
        return f"IoU{plus} {sign} {thresholds}{several}{mixed}"


_PSOL = EvalProtocol(
    "psol-crop224",
    resize=256,
    crop=224,
    average="class",
    source="PSOL ddecfce PSOL_inference.py:141-216 (157-160: boxes are not clipped); C2AM e6a46c9 "
    "WSOL/PSOL/inference_CUB.py:143-218, inference_ILSVRC.py:135-213",
)
_TSCAM = EvalProtocol(
    "tscam-squash224",
    resize=224,
    crop=224,
    clip_truth="last-pixel",
    truncate="divide-first",
    pixel_offset=1,
    strict=False,
    strict_classified=True,
    source="TS-CAM 25aece4 lib/datasets/imagenet.py:132-139 (frame of the truth), "
    "lib/cams_deit.py:48-55 (boxes x, y, x + w, y + h, not cut), 204 (>= for GT-known), 269 (>), "
    "276-305 (IoU)",
)
_WSOLEVAL = EvalProtocol(
    "wsoleval-v1",
    resize=224,
    crop=224,
    clip="last-pixel",
    clip_truth="none",
    truncate="multiply-first",
    pixel_offset=1,
    strict=False,
    source="wsolevaluation 96f4b88 evaluation.py:79-84 (IoU), 95-114 (truth), 153-157 (boxes), 270 "
    "(>=); MaxBoxAcc",
)
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _PSOL,
        EvalProtocol("original", source="original pixels, every image counted once"),
        _TSCAM,
        replace(
            _TSCAM,
            name="genpromp-squash512",
            resize=512,
            crop=512,
            source="GenPromp c480e0a datasets/base.py:287,305-311 (frame of the truth), "
            "datasets/evaluation/cam.py:45-52 (boxes are not cut), 211 (>= for GT-known), 280 (>), "
            "287-316 (IoU)",
        ),
        _WSOLEVAL,
        replace(
            _WSOLEVAL,
            name="wsoleval-v2",
            iou_threshold=(0.3, 0.5, 0.7),
            source="as wsoleval-v1; MaxBoxAccV2, which counts any contour's box (*_multi)",
        ),
        replace(
            _PSOL,
            name="bas-crop224",
            pixel_offset=1,
            source="BAS 54c395e CUB/BAS_inference.py:138-237, ILSVRC/BAS_inference.py:142-250; "
            'utils/IoU.py:3-14 ("+1" sides in a continuous frame)',
        ),
        replace(
            _PSOL,
            name="c2am-crop224-v2",
            iou_threshold=(0.3, 0.5, 0.7),
            source="C2AM e6a46c9 WSOL/PSOL/inference_CUB.py:206-208,217, "
            "inference_ILSVRC.py:201-203,212 (MaxBoxAccV2 of the one box, with >)",
        ),
        EvalProtocol(
            "c2am-crop448",
            resize=480,
            crop=448,
            clip_truth="none",
            source="C2AM e6a46c9 WSOL/dataset/ilsvrc.py:80-83, cub200.py:119-126 (truth is "
            "shifted, not clipped), WSOL/train_CCAM_CUB.py:291-300, train_CCAM_ILSVRC.py:367-372 "
            "(> 0.5)",
        ),
        replace(
            _PSOL,
            name="psol-first-box",
            clip="frame",
            strict=False,
            truth="first",
            average="image",
            source="PSOL ddecfce loader/imagenet_loader.py:88 (first box), 179-185 (frame), "
            "utils/IoU.py:128-157 (boxes are clipped here), PSOL_training.py:36-42 (>=, image)",
        ),
    )
}


def get_protocol(name: str) -> EvalProtocol:
    """The preset of that name, or a user's own if ``name`` is a path that ends in .yaml or .yml.

    Raises:
        InputError: no preset has that name; the message lists those that exist.
    """
    if Path(name).suffix.lower() in (".yaml", ".yml"):
        return load_protocol(name)
    if name not in PROTOCOLS:
        raise InputError(
            f"unknown evaluation protocol {name!r}; there are: {', '.join(PROTOCOLS)}, or the path "
            f"of a YAML file with your own"
        )
    return PROTOCOLS[name]


def load_protocol(path: str | Path) -> EvalProtocol:
    """Read a user's own protocol: a YAML mapping with fields of :class:`EvalProtocol`.

    ``base`` may name a preset whose other fields it takes; ``name`` is the file's by default;
    ``blacklist`` is a list of image keys, or a text file of them, one per line, beside the YAML.

    Raises:
        InputError: an unknown field or a wrong value; the message names file and field.
    """
    path = Path(path)
    given = {"name": path.stem, **_read_mapping(path)}
    known = {field.name for field in fields(EvalProtocol)}
    unknown = [str(name) for name in given if name not in known | {"base"}]
    if unknown:
        raise InputError(
            f"{path}: unknown field {', '.join(unknown)}; there are: base, "
            f"{', '.join(f.name for f in fields(EvalProtocol))}"
        )
    if isinstance(given["name"], str) and given["name"] in PROTOCOLS:
        raise InputError(f"{path}: name {given['name']!r} is a preset's; choose another")
    base = given.pop("base", None)
    if base is not None and not (isinstance(base, str) and base in PROTOCOLS):
        raise InputError(f"{path}: base must be one of {', '.join(PROTOCOLS)}, got {shown(base)}")
    try:
        if isinstance(given.get("blacklist"), str):
            given["blacklist"] = _read_keys(path.parent / given["blacklist"])
        if base is None:
            return EvalProtocol(**given)
        return replace(PROTOCOLS[base], **{"source": f"{path}, {base}", **given})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_mapping(path: Path) -> dict:
    content = read_yaml(path, "fields of a protocol")
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of protocol fields, got {content!r}")
    return content


def _read_keys(path: Path) -> tuple[str, ...]:
    lines = read_lines(path, "the blacklist, keys of images, one per line")
    return tuple(line.strip() for line in lines if line.strip())
