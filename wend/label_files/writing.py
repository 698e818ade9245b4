"""Boxes to a folder of label files, whole or not at all."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from wend.errors import InputError, some
from wend.label_files.labelled_boxes import FOREGROUND, LabelledBoxes
from wend.label_files.registry import WRITERS, LabelWriter
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.user_code import own_errors

logger = logging.getLogger(__name__)


def write(
    format_name: str,
    table: BoxTable,
    images: DataSet,
    folder: str | Path,
    *,
    labels: Sequence[str] = (FOREGROUND,),
    upright: bool = False,
    overwrite: bool = False,
    **options: object,
) -> Path:
    """Write boxes in one format to ``<folder>/<format name>``.

    Args:
        format_name: as :meth:`wend.registry.Registry.get` takes it: ``coco``, ``csv``, ``cvat``,
            ``label_studio``, ``voc``, ``yolo``, or a writer of yours.
        table: the boxes, in original pixels.
        images: the I images; those of code come from ``DataSet.from_records``. Their keys are the
            names in the files.
        folder: where the format's folder goes; made where it is not there.
        labels: names of the boxes' classes; class-agnostic boxes are called as the first.
        upright: turn boxes by EXIF's orientation also for the formats that leave them as they are
            (coco and csv, which are read back for the same data set).
        overwrite: replace the format's folder where it is there already.
        options: the writer's own.

    Returns:
        The format's folder.

    Raises:
        InputError: no such format or option, the folder is there already, or boxes and images
            that cannot be written (:class:`.LabelledBoxes`).
    """
    (path,) = write_all(
        [format_name],
        table,
        images,
        folder,
        labels=labels,
        upright=upright,
        overwrite=overwrite,
        options=options,
    )
    return path


def write_all(
    format_names: Sequence[str],
    table: BoxTable,
    images: DataSet,
    folder: str | Path,
    *,
    labels: Sequence[str] = (FOREGROUND,),
    upright: bool = False,
    overwrite: bool = False,
    options: Mapping[str, object] | None = None,
) -> list[Path]:
    """Write boxes in several formats, each as :func:`write`; everything is checked before.

    Args:
        format_names: names of formats, all different.
        options: go to each of the formats that has them.

    Raises:
        InputError: as of :func:`write`, or an option that none of the formats has.
    """
    writers = _writers(format_names, options or {})
    targets = {name: Path(folder) / name.rsplit(":", 1)[-1] for name in writers}
    if len(set(targets.values())) < len(writers) or len(writers) < len(format_names):
        raise InputError(f"label files: expected different formats, got {some(format_names)}")
    for target in targets.values():
        _check_target(target, overwrite)
    boxes = LabelledBoxes(images, table, tuple(labels))
    if upright:
        boxes = boxes.upright()
    for name, writer in writers.items():
        _write_whole(name, writer, boxes, targets[name])
    return list(targets.values())


def option_names(writer: LabelWriter) -> list[str]:
    """A writer's options: its parameters after boxes and folder."""
    return list(inspect.signature(writer).parameters)[2:]


def _writers(format_names: Sequence[str], options: Mapping[str, object]) -> dict[str, LabelWriter]:
    """The writers by name, each with those options that it has."""
    writers: dict[str, LabelWriter] = {}
    known: dict[str, list[str]] = {}
    for name in format_names:
        writer = WRITERS.get(name)
        known[name] = option_names(writer)
        own = {key: value for key, value in options.items() if key in known[name]}
        writers[name] = partial(writer, **own) if own else writer
    unknown = [key for key in options if not any(key in names for names in known.values())]
    if unknown:
        having = [f"{name}: {', '.join(names)}" for name, names in known.items() if names]
        raise InputError(
            f"label files: no option {some(unknown)}; there are: {'; '.join(having) or 'none'}"
        )
    return writers


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: is a file or a link; name another folder, or remove it")
    if target.exists() and not overwrite and any(target.iterdir()):
        raise InputError(
            f"{target}: is there already; name another folder, remove it, or replace it with "
            f"--overwrite (overwrite=True)"
        )


def _endings(folder: Path) -> dict[str, Path]:
    """Ending of each kind of file below a folder, links left out -> the first of it."""
    endings: dict[str, Path] = {}
    for parent, _, files in os.walk(folder):
        for path in (Path(parent, name) for name in files):
            if not path.is_symlink():
                endings.setdefault(path.suffix, path)
    return endings


def _write_whole(name: str, writer: LabelWriter, boxes: LabelledBoxes, target: Path) -> None:
    """Let a writer fill a new folder, and move that to the target once it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.unfinished-"))
    try:
        with own_errors(writer, f"label format {name!r} failed"):
            writer(boxes, unfinished)
        if not any(unfinished.iterdir()):
            raise InputError(f"label format {name!r}: the function wrote nothing to its folder")
        _let_others_read(unfinished)
        if target.exists():
            _replace(target, unfinished)
        else:
            unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # only there after a failure
    number, total = len(boxes.table.with_boxes), len(boxes)
    logger.info("%s: %d boxes in %d of %d images", target, len(boxes.table.boxes), number, total)


def _let_others_read(folder: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)  # mkdtemp makes folders private


def _replace(target: Path, new: Path) -> None:
    """Move a new folder to the place of an old one, which holds nothing but label files.

    Raises:
        InputError: the old one holds files of another kind, which would be lost.
    """
    foreign = [path for ending, path in _endings(target).items() if ending not in _endings(new)]
    if foreign:
        raise InputError(
            f"{target}: holds files that are no label files of this format "
            f"({some(foreign)}), which --overwrite would remove; name another folder"
        )
    old = new.with_name(f"{new.name}.old")
    target.rename(old)
    try:
        new.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old)
