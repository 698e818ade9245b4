"""Data sets declared in small YAML files: a name for ``DATASETS.TRAIN`` and ``TEST`` without code.

A file is one mapping; ``docs/datasets.md`` lists the keys. Relative paths are below
``DETECTRON2_DATASETS``, with a leading ``./`` or ``../`` beside the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from wend.errors import InputError, did_you_mean, shown, some
from wend.files import expand_user, read_text, real_path
from wend.formats.coco_images import load_coco_images
from wend.formats.cub import image_folder, load_cub
from wend.formats.folder import load_folder
from wend.formats.imagenet import load_imagenet
from wend.formats.openimages import load_lists
from wend.images.paths import resolve_path
from wend.images.sizes import SizeReader
from wend.structures.data_set import BOX_KINDS, DataSet
from wend.structures.records import EXIF
from wend.user_code import require_named
from wend.yaml_files import ODD_VALUES, PROBLEMS, StrictLoader, yaml_error

if TYPE_CHECKING:  # pyarrow is slow to import
    from wend.pseudo_boxes import PseudoBoxes

ENVIRONMENT = "WEND_DATASETS"
SUFFIXES = (".yaml", ".yml")
COMMON = ("name", "format", "pseudo_boxes", "train_on", "exif")


@dataclass(frozen=True)
class Format:
    """A format that declarations know, and how it is read.

    Attributes:
        load: takes the values of the keys, those of ``paths`` as paths, and ``sizes``, a
            :class:`SizeReader`.
        required, optional: the keys.
        paths: those keys whose values are paths.
    """

    load: Callable[..., DataSet]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    paths: tuple[str, ...] = ("images", "annotations", "lists", "masks")


def _load_cub(images: Path, split: str, sizes: SizeReader) -> DataSet:
    return load_cub(images, split, sizes)  # where others have images, CUB has its whole folder


def _load_openimages(
    images: Path,
    lists: Path | None = None,
    masks: Path | None = None,
    annotations: Path | None = None,
    groups: str = "drop",
    *,
    sizes: SizeReader,
) -> DataSet:
    if lists is not None and annotations is None:
        return load_lists(images, lists, masks, sizes)
    if lists is None and annotations is not None and masks is None:
        return load_folder(images, annotations, "annotations", groups, sizes)
    raise InputError(
        "format openimages needs lists (wsolevaluation's, with masks) or annotations (Open Images' "
        "CSV of boxes), one of them"
    )


FORMATS = {
    "cub": Format(_load_cub, ("images", "split")),
    "imagenet": Format(
        load_imagenet,
        ("images",),
        ("annotations", "classes"),
        ("images", "annotations", "classes"),
    ),
    "openimages": Format(
        _load_openimages, ("images",), ("lists", "masks", "annotations", "groups")
    ),
    "wsoleval": Format(load_lists, ("images", "lists")),
    "coco": Format(load_coco_images, ("images", "annotations"), ("classes", "missing_images")),
    "folder": Format(load_folder, ("images",), ("annotations", "classes", "groups")),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a data set is made of files, for declarations and built-in names alike.

    Attributes:
        name: the data set's name.
        format: a key of :data:`FORMATS`.
        options: the format's keys; paths as written.
        pseudo_boxes: a box source as :func:`wend.pseudo_boxes.read_boxes` takes it, or None.
        train_on: "pseudo_boxes" or "gt_boxes".
        exif: "ignore" or "apply", see :data:`wend.structures.records.EXIF`.
        folder: what paths with a leading ``./`` or ``../`` start from.
    """

    name: str
    format: str
    options: Mapping[str, str]
    pseudo_boxes: Mapping[str, Any] | None
    train_on: str
    exif: str = "ignore"
    folder: Path = Path()

    def resolve(self, value: str, root: Path) -> Path:
        """The path that a written one means from the current folder."""
        return resolve_path(value, self.folder, root)

    def sources(self, root: Path) -> list[Path]:
        """The files and folders that the data set is read from."""
        paths = list(self._paths(root).values())
        if self.format == "cub":
            paths.append(image_folder(paths[0], self.options["split"]))
        if self.pseudo_boxes is not None:
            paths.append(self.resolve(self.pseudo_boxes["path"], root))
        return paths

    def _paths(self, root: Path) -> dict[str, Path]:
        keys = [key for key in FORMATS[self.format].paths if key in self.options]
        return {key: self.resolve(self.options[key], root) for key in keys}

    def load(self, root: Path, sizes: SizeReader, implausible: str | None = None) -> DataSet:
        """The data set, with its pseudo boxes where there is a source of them.

        Args:
            root: folder of the data sets.
            sizes: reads the images' headers.
            implausible: as of :func:`wend.pseudo_boxes.join_boxes`.

        Raises:
            InputError: what a reader says.
        """
        data_set, boxes = self.load_images(root, sizes), self.load_boxes(root)
        if boxes is None:
            return data_set
        from wend.pseudo_boxes import join_boxes

        with self.named_errors():
            table, joined = join_boxes(
                data_set.keys, data_set.frame_sizes, boxes, implausible=implausible
            )
        return data_set.with_pseudo_boxes(table, joined.left_out)

    def load_images(self, root: Path, sizes: SizeReader) -> DataSet:
        """The images with their truth, without pseudo boxes; arguments as of :meth:`load`."""
        options = {**self.options, **self._paths(root)}
        with self.named_errors():
            reader = sizes.with_policy(self.exif)
            data_set = FORMATS[self.format].load(**options, sizes=reader)
        return replace(data_set, exif=self.exif)

    def load_boxes(self, root: Path) -> PseudoBoxes | None:
        """The pseudo boxes as their files hold them; None if there is no source of them."""
        if self.pseudo_boxes is None:
            return None
        from wend.pseudo_boxes import read_boxes

        module, colon, _ = str(self.pseudo_boxes.get("source", "")).rpartition(":")
        with self.named_errors():
            if colon:
                require_named([module], "pseudo_boxes: source", self.folder)
            return read_boxes(self.pseudo_boxes, base=self.folder, root=root)

    def named_errors(self) -> AbstractContextManager:
        """A context in which errors are named, where a recipe has a name for messages."""
        return nullcontext()


@dataclass(frozen=True, kw_only=True)
class Declaration(Recipe):
    """A checked YAML file.

    Attributes:
        path: the file, whose folder is :attr:`Recipe.folder`.
    """

    path: Path

    def sources(self, root: Path) -> list[Path]:
        """The files and folders that the data set is read from, this one first."""
        return [self.path, *super().sources(root)]

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Messages of errors begin with the declaration's path."""
        try:
            yield
        except InputError as error:
            raise type(error)(f"{self.path}: {error}") from error


def _read_node(path: Path, loader: type[yaml.SafeLoader] = StrictLoader) -> yaml.Node | None:
    text = read_text(path, "a declaration of a data set")
    try:
        return yaml.compose(text, Loader=loader)
    except PROBLEMS as error:
        raise yaml_error(error, str(path), "a data set's keys") from error


def _read_values(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping's values, and the line of each key; a key twice is an error."""
    node = _read_node(path)
    if not isinstance(node, yaml.MappingNode):
        raise InputError(f"{path}: expected a mapping of keys such as 'format: folder'")
    values: dict[str, Any] = {}
    lines: dict[str, int] = {}
    loader = StrictLoader("")
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{path}, line {line}: expected a key such as 'format', got a value")
        try:
            key = str(loader.construct_object(key_node, deep=True))
            value = loader.construct_object(value_node, deep=True)
        except (*PROBLEMS, *ODD_VALUES) as error:
            problem = " ".join(str(error).split())
            if not isinstance(error, yaml.YAMLError):
                problem = f"not a YAML value ({type(error).__name__}: {problem})"
            raise InputError(f"{path}, line {line}: {problem}") from error
        values[key], lines[key] = value, line
    return values, lines


def lasting_name(name: str) -> str:
    """A data set's name; the path of a declaration as it is known from every folder."""
    return str(real_path(expand_user(name))) if name.endswith(SUFFIXES) else name


def read_declaration(path: str | Path) -> Declaration:
    """Read and check one file.

    Raises:
        MissingFileError, InputError: not YAML, an unknown key (the nearest is named), a missing
            one, or a wrong value; the message names file, line and key.
    """
    path = Path(path)
    values, lines = _read_values(path)

    def wrong(key: str, problem: str) -> InputError:
        where = f"{path}, line {lines[key]}" if key in lines else str(path)
        return InputError(f"{where}: key {shown(key)}: {problem}")

    format_name = values.get("format")
    if not isinstance(format_name, str) or format_name not in FORMATS:
        hint = did_you_mean(shown(format_name).strip("'"), list(FORMATS))
        problem = f"expected one of {', '.join(FORMATS)}, got {shown(format_name)}.{hint}"
        raise wrong("format", problem)
    form = FORMATS[format_name]
    known = (*COMMON, *form.required, *form.optional)
    for key in values:
        if key not in known:
            hint = did_you_mean(key[:100], known)
            raise wrong(key, f"unknown for format {format_name}; known: {', '.join(known)}.{hint}")
    for key in form.required:
        if key not in values:
            raise wrong(key, f"is missing; format {format_name} needs {', '.join(form.required)}")
    for key in values.keys() - {"pseudo_boxes"}:
        if not isinstance(values[key], str) or not values[key].strip():
            raise wrong(key, f"expected text, got {shown(values[key])}")
    boxes = values.get("pseudo_boxes")
    if "pseudo_boxes" in values and not (
        isinstance(boxes, dict)
        and all(isinstance(boxes.get(key), str) for key in ("source", "path"))
    ):
        raise wrong("pseudo_boxes", f"expected a mapping with source and path, got {shown(boxes)}")
    train_on = values.get("train_on", "gt_boxes" if boxes is None else "pseudo_boxes")
    if train_on not in BOX_KINDS:
        raise wrong("train_on", f"expected one of {', '.join(BOX_KINDS)}, got {shown(train_on)}")
    if train_on == "pseudo_boxes" and boxes is None:
        raise wrong("train_on", "pseudo_boxes needs the key 'pseudo_boxes' with their source")
    exif = values.get("exif", EXIF[0])
    if exif not in EXIF:
        raise wrong("exif", f"expected one of {', '.join(EXIF)}, got {shown(exif)}")
    name = values.get("name", path.stem)
    if set(name) & set("/\\") or name.startswith(".") or name.endswith(SUFFIXES):
        raise wrong("name", f"expected a name without '/' and unlike a file's, got {shown(name)}")
    options = {key: values[key] for key in (*form.required, *form.optional) if key in values}
    return Declaration(
        name=name,
        format=format_name,
        options=options,
        pseudo_boxes=boxes,
        train_on=train_on,
        exif=exif,
        folder=path.parent,
        path=path,
    )


def declaration_folders(root: Path, more: Sequence[str | Path] = ()) -> list[Path]:
    """The folders in which YAML files are looked for.

    They are those of ``WEND_DATASETS``, ``more``, the root, and ``./datasets``.
    """
    folders = [part for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    paths = [*(expand_user(part) for part in (*folders, *more)), root, Path("datasets")]
    return list({real_path(path): path for path in reversed(paths)}.values())[::-1]


def _declared_name(path: Path) -> str | None:
    """The name a file gives, though the rest of it may be wrong; None if it declares nothing."""
    try:
        node = _read_node(path, yaml.SafeLoader)
    except InputError:
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    keys = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    name = keys.get("name")
    own_name = name.value if isinstance(name, yaml.ScalarNode) else path.stem
    return own_name if "format" in keys else None


def find_declarations(folders: Sequence[Path]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Names of the declared data sets with their files, and YAML files that declare none."""
    declared: dict[str, list[Path]] = {}
    others: list[Path] = []
    for folder in folders:
        files = sorted(folder.iterdir()) if folder.is_dir() else ()
        for path in files:
            if path.suffix in SUFFIXES and path.is_file():
                name = _declared_name(path)
                if name is None:
                    others.append(path)
                else:
                    declared.setdefault(name, []).append(path)
    return declared, others


def one_declaration(name: str, paths: Sequence[Path]) -> Declaration:
    """The declaration of a name; InputError names all files if there are several."""
    if len(paths) > 1:
        raise InputError(
            f"data set {name!r} is declared {len(paths)} times ({some(paths)}); give all but one "
            f"of them another name"
        )
    return read_declaration(paths[0])
