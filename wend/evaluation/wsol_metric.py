"""A metric that collects batches, as torchmetrics' classes do, with or without several processes.

:class:`WSOLMetric` stores; what it stores, checks and computes is :mod:`wend.evaluation.arrays`'.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wend.errors import InputError
from wend.evaluation.arrays import ArrayImage, ArrayImages, checked_ks
from wend.evaluation.metrics import choose_metrics
from wend.evaluation.protocols import EvalProtocol, get_protocol
from wend.evaluation.scoring import ProtocolScores
from wend.structures.plausibility import check_policy

TARGET_KEYS = {"image_id": "image_id", "size": "size", "boxes": "truth", "class_id": "class_id"}
PRED_KEYS = {name: name for name in ("boxes", "scores", "class_ids", "class_ranking")}
NEEDED = {"target": ("image_id", "size", "boxes"), "preds": ("boxes", "scores")}
IGNORED = {"preds": ("labels",), "target": ()}  # torchvision's: 1, the object


class WSOLMetric:
    """Localization metrics of images that come batch by batch.

    Args:
        protocol: frame, IoU test and average, or its name; of several, in a list, each number's
            name has the protocol's in front, ``original:gt_known_loc``.
        max_boxes: K of the metrics that have K, or several; None for all boxes.
        metrics: more metrics than the default ones, as ``wend evaluate --metrics`` takes them.
        sync_on_compute: in several processes of torch.distributed, :meth:`compute` and
            :meth:`scores` are of all processes' images; all processes must call them.
        implausible: what becomes of boxes that are hardly original pixels (fractions, another
            frame) when numbers are computed: "error" (None, too), or "count" to warn and go on.

    Raises:
        InputError: an unknown protocol or metric, or K < 1.

    Example:
        >>> metric = WSOLMetric("original", max_boxes=[1, 5])
        >>> preds = [{"boxes": [[0, 0, 8, 7]], "scores": [0.9]}]
        >>> target = [{"image_id": 1, "size": (10, 10), "boxes": [[0, 0, 8, 8]]}]
        >>> metric.update(preds, target)
        >>> metric.compute()
        {'gt_known_loc': 100.0, 'gt_known_loc_multi@1': 100.0, 'gt_known_loc_multi@5': 100.0}
    """

    higher_is_better = True

    def __init__(
        self,
        protocol: str | EvalProtocol | Sequence[str | EvalProtocol],
        *,
        max_boxes: int | Sequence[int | None] | None = 5,
        metrics: Iterable[str] = (),
        sync_on_compute: bool = True,
        implausible: str | None = None,
    ) -> None:
        self.has_one_protocol = isinstance(protocol, (str, EvalProtocol))
        several = [protocol] if isinstance(protocol, (str, EvalProtocol)) else list(protocol)
        if not several:
            raise InputError("WSOLMetric: expected a protocol, got none")
        self.protocols = [get_protocol(each) if isinstance(each, str) else each for each in several]
        self.ks = checked_ks(max_boxes)
        self.metrics = tuple(metrics)
        choose_metrics(self.metrics)
        check_policy(implausible or "error", "WSOLMetric: implausible")
        self.sync_on_compute, self.implausible = sync_on_compute, implausible
        self.reset()

    def reset(self) -> None:
        """Forget everything that was added."""
        self._images = ArrayImages(self.protocols)
        self._before_sync: ArrayImages | None = None
        self._numbers: dict[str, float] | None = None

    def __len__(self) -> int:
        return len(self._images)

    def __repr__(self) -> str:
        names = ", ".join(protocol.name for protocol in self.protocols)
        return f"WSOLMetric({names}, K = {self.ks}, of {len(self)} images)"

    @property
    def update_called(self) -> bool:
        """Whether anything was added."""
        return len(self) > 0

    def update(self, preds: Sequence[Mapping], target: Sequence[Mapping]) -> None:
        """Add a batch of images.

        An image that comes again as it was, as samplers of several processes repeat some, is
        counted once. If an image is refused, none of the batch is added.

        Args:
            preds: for each image ``boxes`` (P, 4) ``x0, y0, x1, y1`` in original pixels and
                ``scores`` (P,); P may be 0. Perhaps ``class_ranking``, at least the five best
                classes of a classifier, best first, for Top-1 and Top-5; or ``class_ids`` (P,),
                where each box has a class of its own. Lists, NumPy arrays or tensors of any device
                and precision; ``labels``, which torchvision's detectors add, are not looked at.
            target: for each image ``image_id``, ``size`` (width, height), ``boxes`` (G, 4), G >= 1,
                and perhaps its class ``class_id`` from 0.

        Raises:
            InputError: names the image, what was expected and what came.
        """
        self._add(_images_of(preds, target))

    def forward(self, preds: Sequence[Mapping], target: Sequence[Mapping]) -> dict[str, float]:
        """Add a batch, and return the numbers of it alone, of this process; see :meth:`update`.

        A few images tell little of their frame: what is implausible is only a warning here.
        """
        images = _images_of(preds, target)
        batch = ArrayImages(self.protocols)
        batch.add(images)
        self._add(images)
        return self._named(batch.scores(self.ks, self.metrics, implausible="count"))

    __call__ = forward

    def _add(self, images: Iterable[ArrayImage]) -> None:
        if self._before_sync is not None:
            raise InputError("WSOLMetric: is synced; call unsync() or reset() before adding images")
        self._images.add(images)
        self._numbers = None

    def merge_state(self, other: WSOLMetric) -> None:
        """Add what another metric of the same settings collected, such as another process's.

        Raises:
            InputError: its settings are others, or an image is in both and differs.
        """
        for name in ("protocols", "ks", "metrics"):
            if getattr(self, name) != getattr(other, name):
                raise InputError(
                    f"WSOLMetric: only states of equal {name} can be merged, got "
                    f"{getattr(self, name)} and {getattr(other, name)}"
                )
        self._add(other._images.by_id.values())

    def compute(self) -> dict[str, float]:
        """The numbers of all images: metric, or metric@K, -> value in the metric's unit.

        Raises:
            InputError: nothing was added, or boxes are implausible.
        """
        if self._numbers is None:
            self._numbers = self._named(self.scores())
        return dict(self._numbers)

    def scores(self, level: float | None = None) -> dict[str, ProtocolScores]:
        """All of them by protocol name, with intervals, the scores of each image and so on.

        Args:
            level: the confidence of the intervals, such as 0.95; None for no intervals.

        Raises:
            InputError: nothing was added, or boxes are implausible.
        """
        to_sync = self.sync_on_compute and self._before_sync is None
        if to_sync:
            self.sync()
        try:
            if not len(self):
                raise InputError("WSOLMetric: there is no image to compute numbers of; update() it")
            return self._images.scores(self.ks, self.metrics, level, self.implausible)
        finally:
            if to_sync:
                self.unsync()

    def _named(self, scores: Mapping[str, ProtocolScores]) -> dict[str, float]:
        return {
            column.label if self.has_one_protocol else f"{name}:{column.label}": cell.value
            for name, result in scores.items()
            for column, cell in result.cells.items()
        }

    def sync(self, process_group: Any = None) -> None:
        """Take the images of all processes of torch.distributed, until :meth:`unsync`.

        Nothing happens where it is not initialized. All processes of the group must call it.

        Raises:
            InputError: it is synced already, or an image differs between processes.
        """
        if self._before_sync is not None:
            raise InputError("WSOLMetric: is synced already; call unsync() first")
        distributed = sys.modules.get("torch.distributed")  # not imported: not initialized
        if (
            distributed is None
            or not distributed.is_available()
            or not distributed.is_initialized()
        ):
            return
        parts: list = [None] * distributed.get_world_size(process_group)
        own = list(self._images.by_id.values())
        distributed.all_gather_object(parts, own, group=process_group)
        every = ArrayImages(self.protocols)
        for part in parts:
            every.add(part)
        self._images, self._before_sync = every, self._images

    def unsync(self) -> None:
        """Go back to this process's own images; nothing happens where it is not synced."""
        if self._before_sync is not None:
            self._images, self._before_sync = self._before_sync, None


def _images_of(preds: Sequence[Mapping], target: Sequence[Mapping]) -> list[ArrayImage]:
    for name, rows in (("preds", preds), ("target", target)):
        is_list = isinstance(rows, Sequence) and not isinstance(rows, str)
        if not is_list or not all(isinstance(row, Mapping) for row in rows):
            raise InputError(
                f"{name}: expected a list with a dict for each image, got {type(rows).__name__}"
                + (f" of {', '.join(sorted({type(row).__name__ for row in rows}))}" * is_list)
            )
    if len(preds) != len(target):
        raise InputError(f"preds are of {len(preds)} images, target of {len(target)}")
    return [_image_of(i, *rows) for i, rows in enumerate(zip(preds, target, strict=True))]


def _image_of(index: int, pred: Mapping, target: Mapping) -> ArrayImage:
    values = {}
    for name, row, keys in (("target", target, TARGET_KEYS), ("preds", pred, PRED_KEYS)):
        absent = [key for key in NEEDED[name] if key not in row]
        unknown = [str(key) for key in row if key not in (*keys, *IGNORED[name])]
        if absent or unknown:
            problem = f"lacks {', '.join(absent)}" if absent else f"has {', '.join(unknown)}"
            raise InputError(
                f"{name}[{index}] (image {target.get('image_id', '?')!r}) {problem}; expected "
                f"{', '.join(NEEDED[name])}, and perhaps "
                f"{', '.join(key for key in keys if key not in NEEDED[name])}"
            )
        values.update({keys[key]: value for key, value in row.items() if key in keys})
    return ArrayImage.of(values.pop("image_id"), **values)
