"""Boxes and images as the words of a command line name them."""

from __future__ import annotations

from collections.abc import Sequence

from wend.datasets.catalog import DataSets
from wend.datasets.ground_truth import load_source
from wend.errors import InputError
from wend.files import expand_user
from wend.pseudo_boxes import SOURCES, PseudoBoxes, read_boxes
from wend.structures.data_set import DataSet
from wend.yaml_files import parse_yaml

SOURCE_HELP = (
    "SOURCE PATH [OPTION=VALUE ...], such as c2am c2am_boxes/train/pseudo_boxes; or the name of a "
    "data set, whose own pseudo boxes are meant"
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


def is_name(source: str, data_sets: DataSets) -> bool:
    """Whether a data set is called so, or the source is the path of a declaration."""
    return data_sets.own_name(source) in data_sets.names()


def load_images(source: str, data_sets: DataSets) -> DataSet:
    """The images of a data set, COCO JSON or folder, without the boxes of a data set's source."""
    if is_name(source, data_sets):
        return data_sets.images(source)
    return load_source(source, data_sets)
