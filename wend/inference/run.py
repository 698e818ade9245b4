"""``wend predict``: boxes of photos or frames as label files and pictures, all of one run.

Everything is written in a hidden folder of the output folder and moved out of it when it is whole.
An output folder holds one run: what an earlier one left there is an error, or replaced as a whole.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from wend.errors import BadImageError, InputError, some
from wend.files import atomic_write, is_plain_name, read_json, remove, state_digest, write_json
from wend.inference.detections import Detections
from wend.inference.detector import Detector
from wend.inference.inputs import image_files
from wend.inference.video import Video, VideoWriter
from wend.label_files import FOREGROUND, write_all
from wend.partial import PartialFile
from wend.reports.draw import spread
from wend.reports.likely_boxes import number_shown
from wend.run_lock import LOCK_FILE
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord

MANIFEST = "predict.json"  # what a finished run says of itself
UNFINISHED = ".unfinished"  # folder of a run that is not finished
RECORD, PICTURES = "boxes.jsonl", "pictures"
FORMAT = "wend predict 1"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choices:
    """What is predicted and written.

    Attributes:
        formats: names of :data:`wend.label_files.WRITERS`.
        pictures: how many images are drawn, spread evenly; None for all.
        label: what boxes are called in label files.
        max_boxes, min_score, batch_size: as of :meth:`Detector.__call__`.
        skip_bad: images that cannot be read are left out, instead of an error.
    """

    formats: Sequence[str] = ("coco",)
    pictures: int | None = 16
    label: str = FOREGROUND
    max_boxes: int | None = None
    min_score: float | None = None
    batch_size: int | None = None
    skip_bad: bool = False

    def arguments(self) -> dict[str, Any]:
        """Arguments of :meth:`Detector.__call__`."""
        return {name: getattr(self, name) for name in ("max_boxes", "min_score", "batch_size")}


@dataclass(frozen=True)
class Photos:
    """Image files, and their names below the folder that they share.

    Attributes:
        files: paths as they can be opened.
        names: with forward slashes, all different.
    """

    files: list[str]
    names: list[str]

    @classmethod
    def of_paths(cls, paths: Iterable[str | os.PathLike]) -> Photos:
        """The images that paths, folders and patterns name, in their order.

        Raises:
            InputError: there are none, or one is named twice.
        """
        paths = [os.fspath(path) for path in paths]
        files = [file for path in paths for file in image_files(path)]
        if len(set(map(os.path.abspath, files))) < len(files):
            twice = sorted(file for file in set(files) if files.count(file) > 1)
            raise InputError(f"{len(twice)} images are named twice ({some(twice)}); name each once")
        whole = [os.path.abspath(file) for file in files]
        if len(paths) == 1 and os.path.isdir(paths[0]):
            root = os.path.abspath(paths[0])
        else:
            root = os.path.commonpath([os.path.dirname(file) for file in whole])
        names = [os.path.relpath(file, root).replace(os.sep, "/") for file in whole]
        return cls(files, names)

    def digest(self) -> str:
        """Differs where files, their sizes or times differ."""
        return state_digest(self.files)


class Output:
    """The folder of a run; checked here, and made by :meth:`start`.

    Args:
        folder: need not be there.
        overwrite: what a finished run left there is removed at the end of this one.

    Attributes:
        unfinished: where files are written until :meth:`finish`.

    Raises:
        InputError: there are files of something else, or of a finished run that is to stay.
    """

    def __init__(self, folder: str | Path, *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.unfinished = self.folder / UNFINISHED
        self.earlier: list[str] = []
        if self.unfinished.is_symlink():  # what it leads to would be emptied
            raise InputError(f"{self.unfinished}: is a link; remove it, or name another folder")
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: is a file; expected a folder to write to")
        there = self.folder.iterdir() if self.folder.exists() else ()
        others = {path.name for path in there} - {UNFINISHED, LOCK_FILE}
        if MANIFEST in others:
            self.earlier = [MANIFEST, *self._written_earlier()]
        foreign = sorted(others - set(self.earlier))
        if foreign:
            raise InputError(
                f"{self.folder}: holds files that are none of wend predict's ({some(foreign)}); "
                f"name a new folder: --output DIR"
            )
        if others and not overwrite:
            raise InputError(
                f"{self.folder}: holds the boxes of an earlier run; name another folder (--output "
                f"DIR), or replace them (--overwrite)"
            )

    def start(self) -> None:
        """Make the folders; where the system does not let them be made, nothing was predicted."""
        self.unfinished.mkdir(parents=True, exist_ok=True)

    def _written_earlier(self) -> list[str]:
        path = self.folder / MANIFEST
        manifest = read_json(path, "what an earlier run of wend predict wrote")
        names = manifest.get("written") if isinstance(manifest, dict) else None
        if not isinstance(names, list) or not all(
            isinstance(name, str) and is_plain_name(name) for name in names
        ):
            raise InputError(f"{path}: is not what wend predict writes; name another folder")
        return names

    def finish(self, manifest: Mapping[str, Any]) -> list[Path]:
        """Move the unfinished run's files to their place; returns what is there now."""
        for name in self.earlier:
            remove(self.folder / name)
        (self.unfinished / RECORD).unlink(missing_ok=True)
        parts = sorted(self.unfinished.iterdir())
        names = [path.name for path in parts]
        write_json(self.folder / MANIFEST, {**manifest, "written": names}, indent=1)
        for path in parts:
            path.rename(self.folder / path.name)
        self.unfinished.rmdir()
        return [self.folder / name for name in (MANIFEST, *names)]


def predict_photos(
    detector: Detector, photos: Photos, output: Output, choices: Choices
) -> tuple[list[Path], dict[str, Any]]:
    """Predict boxes of photos, and write them as label files and pictures.

    Returns:
        The files and folders written, and the manifest: numbers of images and boxes, settings, and
        what could not be read.

    Raises:
        BadImageError: an image cannot be read; what was predicted before stays for the next run.
    """
    output.start()
    settings = settings_of(detector, choices) | {
        "images": len(photos.files),
        "image_files": photos.digest(),
    }
    record = PartialFile(output.unfinished / RECORD, FORMAT, settings, _from_row)
    if not record.resumed:
        _empty(output.unfinished, keep=RECORD)
    predicted: dict[int, Detections] = dict(record.items)
    if predicted:
        logger.info("%d of %d images are predicted already", len(predicted), len(photos.files))
    todo = [index for index in range(len(photos.files)) if index not in predicted]
    unreadable: list[str] = []

    def tell(error: BadImageError) -> None:
        if not choices.skip_bad:
            raise error
        unreadable.append(str(error))

    files = (photos.files[index] for index in todo)
    stream = detector(files, **choices.arguments(), on_bad=tell)
    bar = tqdm(stream, "predict", len(todo), unit="image", leave=False, disable=None)
    for detections in bar:
        index = todo[detections.index]
        predicted[index] = detections
        record.add([_as_row(index, detections)])
    if not predicted:
        raise BadImageError(f"none of {len(todo)} images can be read ({some(unreadable)})")
    order = sorted(predicted)
    records = [_image_record(photos, index, predicted[index]) for index in order]
    table = BoxTable.from_lists(
        [predicted[index].xyxy for index in order], [predicted[index].scores for index in order]
    )
    write_labels(output.unfinished, choices, records, table)
    draw_pictures(output.unfinished / PICTURES, choices, records, table)
    manifest = _counts(table) | {"unreadable": unreadable, "settings": settings}
    return output.finish(manifest), manifest


def predict_video(
    detector: Detector, source: str | int, output: Output, choices: Choices
) -> tuple[list[Path], dict[str, Any]]:
    """Predict boxes of a video's or a camera's frames; write them, and the video with its boxes.

    In label files the frames are images called ``<video>_000000.jpg``, ...

    Args:
        source: a file, or the number of a camera, which is read until Ctrl-C.

    Returns:
        As of :func:`predict_photos`.
    """
    seen: list[Detections] = []
    with (
        Video(source, detector.max_megapixels) as video,
        VideoWriter(output.unfinished, video) as drawn,
    ):
        output.start()
        _empty(output.unfinished)
        stream = detector(iter(video), **choices.arguments())
        bar = tqdm(
            stream, "predict", video.expected or None, unit="frame", leave=False, disable=None
        )
        try:
            for detections in bar:
                drawn.add(np.asarray(boxes_to_draw(detections, choices).plot()))
                seen.append(replace(detections, image=""))  # not the pixels of all frames
        except KeyboardInterrupt:
            if not video.is_camera or not seen:
                raise
    if not seen:
        raise InputError(f"{source}: OpenCV reads no frame of it; is it damaged?")
    if len(seen) != video.expected and video.expected:
        logger.warning("%s: has %d frames, %d are stated", source, len(seen), video.expected)
    names = [f"{video.name}_{number:06d}.jpg" for number in range(len(seen))]
    records = [
        ImageRecord(name, name, *frame.size, key=name)
        for name, frame in zip(names, seen, strict=True)
    ]
    table = BoxTable.from_lists([each.xyxy for each in seen], [each.scores for each in seen])
    write_labels(output.unfinished, choices, records, table)
    manifest = _counts(table) | {
        "unreadable": [],
        "settings": settings_of(detector, choices) | {"video": str(source)},
    }
    return output.finish(manifest), manifest


def _counts(table: BoxTable) -> dict[str, Any]:
    return {
        "images": len(table),
        "boxes": len(table.boxes),
        "images_without_box": len(table) - len(table.with_boxes),
    }


def settings_of(detector: Detector, choices: Choices) -> dict[str, Any]:
    """What the boxes of an image depend on."""
    weights = "" if detector.file is None else os.path.realpath(detector.file)
    config = hashlib.sha256(detector.cfg.dump().encode()).hexdigest()
    return {
        "weights": weights,
        "weights_time": os.stat(weights).st_mtime_ns if weights else 0,
        "config": config,
        "exif": detector.exif,
        **choices.arguments(),
    }


def _empty(folder: Path, keep: str = "") -> None:
    for path in folder.iterdir():
        if path.name != keep:
            remove(path)


def _as_row(index: int, detections: Detections) -> dict[str, Any]:
    return {
        "index": index,
        "size": detections.size,
        "xyxy": detections.xyxy.tolist(),
        "scores": detections.scores.tolist(),
    }


def _from_row(row: dict[str, Any]) -> tuple[int, Detections]:
    width, height = row["size"]
    boxes = np.array(row["xyxy"], dtype=np.float64).reshape(-1, 4)
    scores = np.array(row["scores"], dtype=np.float64)
    return row["index"], Detections(boxes, scores, "", (width, height), row["index"])


def _image_record(photos: Photos, index: int, detections: Detections) -> ImageRecord:
    name = photos.names[index]
    return ImageRecord(
        name,
        photos.files[index],
        *detections.size,
        key=name,
        exif=detections.exif,
        max_megapixels=detections.max_megapixels,
    )


def write_labels(
    folder: Path, choices: Choices, records: Sequence[ImageRecord], table: BoxTable
) -> list[Path]:
    """Write the boxes in each of the formats, to ``<folder>/<format>``."""
    images = DataSet.from_records(records, "wend predict")
    return write_all(
        choices.formats, table, images, folder, labels=(choices.label,), overwrite=True
    )


def draw_pictures(
    folder: Path, choices: Choices, records: Sequence[ImageRecord], table: BoxTable
) -> None:
    """Draw images, spread evenly over all, with :func:`boxes_to_draw` as JPEG files."""
    every = len(records)
    picks = spread(np.arange(every), every if choices.pictures is None else choices.pictures)
    for index in tqdm(picks.tolist(), "pictures", unit="image", leave=False, disable=None):
        record = records[index]
        detections = Detections(
            *(table[index], table.scores_of(index), record.file_name),
            size=(record.width, record.height),
            exif=record.exif,
            max_megapixels=record.max_megapixels,
        )
        ending = "" if record.key.lower().endswith((".jpg", ".jpeg")) else ".jpg"
        with atomic_write(folder / f"{record.key}{ending}", "wb") as file:
            image = boxes_to_draw(detections, choices).plot()
            image.save(file, format="JPEG", quality=90)


def boxes_to_draw(detections: Detections, choices: Choices) -> Detections:
    """All boxes where a score or a number of boxes is asked for; else the best, and likely ones."""
    if choices.min_score is not None or choices.max_boxes is not None:
        return detections
    return detections[: number_shown(detections.scores)]
