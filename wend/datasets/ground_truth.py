"""Ground truth by whatever names it: a data set's name, a COCO JSON or a wsolevaluation folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wend.datasets.catalog import check_name, get_records, registered_names, resolve_name
from wend.errors import InputError, MissingFileError, some
from wend.formats.coco import load_coco
from wend.formats.wsoleval import BOXES, IDS, LABELS, SIZES, load_wsoleval
from wend.structures.records import ImageRecord


@dataclass(frozen=True, eq=False)
class Source:
    """Ground truth and where it came from.

    Attributes:
        name: the data set's name, or the name of the file or folder.
        records: its images.
        files: the files read, as far as they are few: a COCO JSON, or the lists of a folder.
    """

    name: str
    records: Sequence[ImageRecord]
    files: tuple[Path, ...] = ()

    def check_truth(self) -> None:
        """Raise InputError unless every image has a true box, and all ids are of one kind.

        Leaving images out changes the denominator, and no number would be comparable; an image's
        id is a column of the results, which holds numbers or text.
        """
        examples = {type(record.image_id): record.image_id for record in self.records}
        if len(examples) > 1:
            raise InputError(
                f"{self.name}: expected ids of images that are all numbers or all text, got "
                f"{some(map(repr, examples.values()))}"
            )
        without = [r.image_id for r in self.records if not len(r.gt_boxes)]
        if without:
            raise InputError(
                f"{self.name}: {len(without)} of {len(self.records)} images have no true box "
                f"({some(without)}); they can be neither right nor wrong. Take them out of the "
                f"ground truth itself if they are not meant to count"
            )

    def hashes(self) -> dict[str, str]:
        """SHA-256 of the files by name, and of the truth itself (``records``)."""
        found = {path.name: file_sha256(path) for path in self.files}
        return {**found, "records": records_sha256(self.records)}


def load_source(source: str, datasets_root: str | None = None) -> Source:
    """Ground truth from a data set's name, a COCO JSON, or a wsolevaluation metadata folder.

    Args:
        source: a path where there is a ``/`` or an ending, or a file or folder of that name
            exists and no data set is called so.
        datasets_root: sets DETECTRON2_DATASETS, where data sets known by name lie.

    Raises:
        InputError: none of these; or what it names is not whole.
    """
    if datasets_root:
        os.environ["DETECTRON2_DATASETS"] = datasets_root
    source = resolve_name(source)
    path = Path(source)
    if source in registered_names():
        return _checked(Source(source, get_records(source)))
    if path.is_dir():
        files = (path / name for name in (IDS, LABELS, SIZES, BOXES))
        records = load_wsoleval(path)
        name = "/".join(path.resolve().parts[-2:])
        return _checked(Source(name, records, tuple(file for file in files if file.is_file())))
    if path.is_file():
        return _checked(Source(path.name, load_coco(path), (path,)))
    if path.suffix or "/" in source:
        raise MissingFileError(
            f"{source}: there is no such file or folder; expected a COCO JSON, a wsolevaluation "
            f"metadata folder, or a data set's name: {', '.join(registered_names())}"
        )
    check_name(source)
    raise AssertionError("check_name raises for names that are not registered")


def _checked(source: Source) -> Source:
    if not source.records:
        raise InputError(f"{source.name}: holds no image")
    return source


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def records_sha256(records: Sequence[ImageRecord]) -> str:
    """SHA-256 of what truth a number depends on: ids, sizes, classes and boxes, in order."""
    digest = hashlib.sha256()
    heads = [
        [r.image_id, int(r.width), int(r.height), r.class_id, len(r.gt_boxes)] for r in records
    ]
    digest.update(json.dumps(heads, default=str).encode())
    boxes = np.concatenate([np.zeros((0, 4)), *(r.gt_boxes for r in records)])
    digest.update(np.ascontiguousarray(boxes, dtype="<f8").tobytes())
    return digest.hexdigest()
