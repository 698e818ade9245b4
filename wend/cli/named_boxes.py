"""Boxes and images as the words of a command line name them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import load_source
from wend.errors import InputError
from wend.evaluation.detections import load_detections
from wend.evaluation.evaluation import DETECTIONS_FILE
from wend.files import expand_user
from wend.pseudo_boxes import SOURCES, PseudoBoxes, read_boxes
from wend.run_files import evaluation_folder
from wend.structures.data_set import DataSet
from wend.yaml_files import parse_yaml

Options = argparse.ArgumentParser | argparse._ArgumentGroup
ENDINGS = (".json", ".csv", ".parquet", ".pq")  # of files of boxes
SOURCE_HELP = (
    "SOURCE PATH [OPTION=VALUE ...], such as c2am c2am_boxes/train/pseudo_boxes; or the name of a "
    "data set, whose own pseudo boxes are meant"
)


def add_join_options(parser: Options) -> None:
    """Add ``--strict`` and ``--allow-contamination``, which the join of a source's boxes obeys."""
    parser.add_argument("--strict", action="store_true", help="any finding in a source is an error")
    parser.add_argument(
        "--allow-contamination", action="store_true", help="let there be validation images"
    )


def read_options(words: Sequence[str], where: str, taken: Sequence[str] = ()) -> dict[str, object]:
    """Words ``OPTION=VALUE`` as values by name; a value is YAML's: ``true``, ``3``, ``photos``.

    Args:
        where: what the options are of, for messages.
        taken: names that no option may have.

    Raises:
        InputError: a word without ``=``, or a name that comes twice.
    """
    options: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{where}: expected OPTION=VALUE, got {word!r}")
        if key in options or key in taken:
            raise InputError(f"{where}: {key} is given twice; give it once")
        options[key] = parse_yaml(value, f"{where}, {key}", "OPTION=VALUE")
    return options


def read_source(words: Sequence[str], data_sets: DataSets) -> PseudoBoxes:
    """Read boxes named on the command line: ``SOURCE PATH [OPTION=VALUE ...]`` or a data set.

    Raises:
        InputError: the words are neither, or the source's own error.
    """
    if len(words) > 1:
        spec = {"source": words[0], "path": expand_user(words[1]).absolute()}
        spec |= read_options(words[2:], f"box source {words[0]!r}", tuple(spec))
        return read_boxes(spec)
    if words[0] in SOURCES or ":" in words[0]:
        raise InputError(f"box source {words[0]!r}: expected its PATH behind it")
    boxes = data_sets.boxes(words[0]) if is_name(words[0], data_sets) else None
    if boxes is not None:
        return boxes
    data_set = load_images(words[0], data_sets)
    table = data_set.pseudo_boxes
    if not len(table.boxes):
        raise InputError(
            f"{words[0]}: has no pseudo boxes; name a data set with some, such as cub_train_c2am, "
            f"or a source and its path, such as c2am PATH"
        )
    return PseudoBoxes.from_entries(
        words[0], "pixel", data_set.keys, table.counts, table.boxes, table.scores
    )


def source_words(words: Sequence[str]) -> list[list[str]]:
    """The words of several sources, one behind the other, apart.

    A source is ``SOURCE PATH [OPTION=VALUE ...]``, or one word: a data set, a file of boxes or a
    run's folder.

    Raises:
        InputError: an option before any source, a source without its path, or one that comes twice.
    """
    sources: list[list[str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if "=" in word and not expand_user(word).exists():
            if not sources:
                raise InputError(f"{word!r}: expected a source before its options")
            sources[-1].append(word)
        elif _is_reader(word):
            if not rest:
                raise InputError(f"box source {word!r}: expected its PATH behind it")
            sources.append([word, rest.pop(0)])
        else:
            sources.append([word])
    for number, source in enumerate(sources):
        if source in sources[:number]:
            raise InputError(f"{' '.join(source)}: is named twice; name it once, and weigh it")
    return sources


def _is_reader(word: str) -> bool:
    """Whether a word names a box source, so that its path comes next."""
    return word in SOURCES or (":" in word and not expand_user(word).exists())


def read_any_boxes(words: Sequence[str], data_set: DataSet, data_sets: DataSets) -> PseudoBoxes:
    """Read boxes of a data set's images, pseudo boxes and detections alike.

    Args:
        words: of a source, as :func:`source_words` gives them. A file that ends in ``.json`` holds
            a COCO data set or results, another detections; a folder is a run's, whose detections
            on the data set are meant. Pseudo boxes are of no class, so that classes of detections
            are not looked at.

    Raises:
        InputError: what the words name cannot be read; names the file.
    """
    if _is_reader(words[0]) or is_name(words[0], data_sets):
        return read_source(words, data_sets)
    path = expand_user(words[0])
    if path.is_dir():
        path = evaluation_folder(path, data_set.name) / DETECTIONS_FILE
    if path.suffix.lower() not in ENDINGS:
        return read_source(words, data_sets)
    if _is_of_paths(path):
        return read_source(["coco", str(path), *words[1:]], data_sets)
    if len(words) > 1:
        raise InputError(f"{words[0]}: detections have no option, got {' '.join(words[1:])}")
    table, _ = load_detections(  # the join looks at them again
        path, data_set, implausible="count", box_classes="ignore"
    )
    return PseudoBoxes.from_entries(
        str(words[0]), "pixel", data_set.keys, table.counts, table.boxes, table.scores
    )


def _is_of_paths(path: Path) -> bool:
    """Whether a JSON names its images by their paths, not by a data set's numbers."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n")
    return start[:1] == b"{" or re.search(rb'"image_id"\s*:\s*"', start) is not None


def is_name(source: str, data_sets: DataSets) -> bool:
    """Whether a data set is called so, or the source is the path of a declaration."""
    return data_sets.own_name(source) in data_sets.names()


def load_images(source: str, data_sets: DataSets) -> DataSet:
    """The images of a data set, COCO JSON or folder, without the boxes of a data set's source."""
    if is_name(source, data_sets):
        return data_sets.images(source)
    return load_source(source, data_sets)
