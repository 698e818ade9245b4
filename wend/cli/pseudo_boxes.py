"""``wend pseudo-boxes``: boxes from images alone, in C2AM's layout and as COCO JSON.

An interrupted run goes on where it stopped: what is finished stands in
``<output>/<split>.partial`` (:mod:`wend.parts`), whichever process did it. The output itself
appears at the end, whole; ``wend boxes merge`` makes it of what shards have done.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wend import __version__
from wend.cli.options import (
    add_datasets_root_option,
    add_import_option,
    add_megapixels_option,
    add_shard_option,
    check_keys_differ,
    known_data_sets,
    max_megapixels,
    shard_of,
)
from wend.errors import InputError
from wend.images.sizes import SizeReader
from wend.launch.crew import Crew
from wend.localize.border_prior import BorderPriorConfig
from wend.localize.cost import Stopwatch, cost_row
from wend.localize.found import BOXES_STEP, FORMAT, LEFTOVERS, from_row, image_row, part_folder
from wend.localize.whole import check_split, describe_images, write_whole
from wend.localize.writers import cost_path, is_done, output_paths, page_path
from wend.parts import Parts
from wend.structures.box_table import BoxTable
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF

if TYPE_CHECKING:
    from wend.evaluation.agreement import Agreement
    from wend.localize.backbones import Backbone
    from wend.localize.network_pass import NetworkPass

BORDER, DDT, CAM, CONTRAST, AUTO = "border", "ddt", "cam", "contrast", "auto"
OF_NETWORKS = ("backbone", "weights", "layer", "input_size", "device", "batch_size")
OF_DDT = ("group", "sign", "upsampling")
OF_AUTO_NOT = (*OF_DDT, "layer", "option", "cam_class", "side")
BATCH_SIZE, KEEP_GIB = 32, 2.0
PICTURES, MOST_PICTURES = 12, 500  # of each kind on the page
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend pseudo-boxes``."""
    add = parser.add_argument
    add("--method", required=True, metavar="NAME", help="one of those below, or ./file.py:name")
    add_images_options(parser, required=True)
    add("--output", required=True, metavar="DIR", help="gets <split>/pseudo_boxes and a COCO JSON")
    add("--split", default="train", help="folder in the output (default: train)")
    add("--boxes", type=int, default=1, metavar="N", help="boxes per image at most (default: 1)")
    add("--num-workers", type=int, default=2, help="processes that read images (default: 2)")
    add_page_option(parser)
    add("--skip-unreadable", action="store_true", help="leave out and count unreadable images")
    add_megapixels_option(parser)
    add_shard_option(parser, "wend boxes merge")
    add_import_option(parser)
    border = parser.add_argument_group("border")
    border.add_argument("--side", type=int, metavar="N", help="working size (default: 128)")
    network = parser.add_argument_group("all but border").add_argument
    network("--backbone", metavar="MODEL", help="timm:<name> or torchvision:<name>")
    network(
        "--weights",
        metavar="FILE",
        help="the backbone's local checkpoint, or pretrained: what an installed package ships",
    )
    network(
        "--layer",
        metavar="MODULE",
        help="its descriptors; keys, queries, values, attention: of a transformer's last attention "
        "(default: the last feature map)",
    )
    network(
        "--input-size",
        type=int,
        metavar="N",
        help="squash images to NxN (default: 448, or its own)",
    )
    network("--batch-size", type=int, metavar="N", help=f"images at a time (default: {BATCH_SIZE})")
    network("--device", help="cuda, cuda:1, cpu (default: a GPU if there is one)")
    ddt = parser.add_argument_group("ddt").add_argument
    ddt(
        "--group",
        choices=("class", "all"),
        help="a component per class (default), or one for all",
    )
    ddt("--sign", choices=("psol", "loading", "border"), help="see docs (default: psol)")
    ddt(
        "--upsampling",
        choices=("nearest", "bilinear"),
        help="how the map is enlarged (default: nearest)",
    )
    parser.add_argument_group("ddt and contrast").add_argument(
        "--keep-gib",
        type=float,
        metavar="X",
        help=f"memory that spares further passes of the network (default: {KEEP_GIB:g})",
    )
    parser.add_argument_group("cam").add_argument(
        "--cam-class",
        choices=("predicted", "label"),
        help="whose map: the class that is predicted (default), or the data set's",
    )
    others = parser.add_argument_group("all but border and ddt").add_argument
    others(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the method, as listed below; may be repeated",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _methods_in_words()


def add_page_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--page``, for :func:`make_page`."""
    parser.add_argument(
        "--page",
        default=str(PICTURES),
        metavar="N",
        help=f"images of each kind on the page pseudo_boxes.html, or none (default: {PICTURES})",
    )


def check_page(text: str) -> int:
    """The number of images that ``--page`` says; 0 for no page.

    Raises:
        InputError: it is no such number.
    """
    if text == "none":
        return 0
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_PICTURES):
        raise InputError(f"--page: expected none or 1 to {MOST_PICTURES} images, got {text!r}")
    return int(text)


def make_page(
    args: argparse.Namespace,
    data_set: DataSet,
    settings: Mapping[str, Any],
    boxes: BoxTable | None = None,
    agreed: Agreement | None = None,
) -> None:
    """Write the page that ``--page`` asks for, beside the boxes.

    Args:
        boxes: of the data set's images; read from their file if left out.
        agreed: how far the methods agree that they were fused of.
    """
    number = check_page(args.page)
    if not number:
        return
    from wend.localize.cost import read_cost
    from wend.pseudo_boxes import join_boxes, read_boxes
    from wend.reports.localized_page import localized_page
    from wend.reports.page import write_page

    if boxes is None:
        source = {"source": "coco", "path": output_paths(args.output, args.split)[1]}
        boxes = join_boxes(data_set.keys, data_set.sizes, read_boxes(source), log=False)[0]
    cost = read_cost(cost_path(args.output, args.split))
    page = localized_page(data_set, boxes, settings, cost, number, agreed)
    path = page_path(args.output, args.split)
    logger.info("written: %s", write_page(path, page))


def _methods_in_words() -> str:
    """The methods, each with a sentence and its options."""
    from wend.localize.method_options import cam, contrast
    from wend.localize.methods import METHODS, options_of

    rows = [
        (BORDER, "What differs from the image's border, near its centre; no network."),
        (DDT, "The first principal component of the descriptors of a class's images."),
    ]
    auto = "Several of them, fused; a box's score is how far they agree on it."
    rows.append((AUTO, auto))
    several: dict[str, Any] = {name: METHODS.get(name) for name in METHODS}
    for name, method in ({CAM: cam, CONTRAST: contrast} | several).items():
        options = ", ".join(f"{key}={value}" for key, value in options_of(method).items())
        sentence = (method.__doc__ or "").strip().split("\n")[0]
        rows.append((name, f"{sentence}{f' Options: {options}' if options else ''}"))
    width = max(len(name) for name, _ in rows)
    lines = [
        textwrap.fill(text, 98, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * 15)
        for name, text in rows
    ]
    return "methods:\n" + "\n".join(lines)


def add_images_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add what says which images are meant, for :func:`read_images`."""
    images = parser.add_mutually_exclusive_group(required=required)
    images.add_argument("--dataset", metavar="NAME", help="name of the data set")
    images.add_argument("--images", metavar="DIR", help="or a folder of images, all below it")
    parser.add_argument(
        "--exif",
        choices=EXIF,
        help="of --images: take them as stored (default), or turned by EXIF's orientation",
    )
    add_datasets_root_option(parser)


def run(args: argparse.Namespace) -> int:
    """Make boxes as the arguments say; returns the exit status.

    Raises:
        InputError: the user's input is wrong.
    """
    with Crew() as crew:
        (make_fused if args.method == AUTO else make_boxes)(args, crew)
    return 0


def make_boxes(args: argparse.Namespace, crew: Crew) -> None:
    """Make boxes by one method, with the processes of a crew."""
    _check_arguments(args)
    shard = shard_of(args)
    data_set = read_images(args, keep_unreadable=args.skip_unreadable)
    prepare = PREPARE.get(args.method, _prepare_patches)
    settings, work = prepare(args, data_set, crew)
    images = describe_images(data_set, args.dataset, args.images)
    settings = {"method": args.method, **images, **settings}
    if args.boxes > 1:
        settings["boxes"] = args.boxes
    settings = json.loads(json.dumps(settings))  # as they are read back

    def is_there() -> bool:
        there = crew.is_main and is_done(args.output, args.split, data_set.keys, settings)
        if there:
            logger.info("%s: is there already, made with the same settings", args.output)
            if not page_path(args.output, args.split).exists():
                _make_missing_page(args, data_set, settings)
        return crew.broadcast(there)

    if is_there():  # a folder that cannot be written into is no problem then
        return
    folder = part_folder(args.output, args.split)
    output = Path(args.output) / args.split
    with Parts(
        *(output, folder, FORMAT, settings, from_row, crew, shard, LEFTOVERS),
        doing="wend pseudo-boxes",
    ) as parts:
        if is_there():  # another run has just ended
            return
        steps_left = work(parts)
        if crew.is_main and shard is None:
            boxes = write_whole(args.output, args.split, data_set, parts)
            make_page(args, data_set, settings, boxes)
        elif crew.is_main:
            _say_what_is_next(args, parts, len(data_set), steps_left)


def make_fused(args: argparse.Namespace, crew: Crew) -> None:
    """Make boxes by several methods, each in a folder of its own, and fuse them.

    A method that has ended is not run again; one that was interrupted goes on.
    """
    from wend.localize.presets import FUSED, PRESETS

    given = [name for name in (*OF_AUTO_NOT, "shard") if getattr(args, name) is not None]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"--method auto: leave out {names}; each method runs with its own")
    if not (args.backbone and args.weights):
        raise InputError(
            "--method auto: needs --backbone and --weights, a local file or pretrained; without a "
            "network there is --method border"
        )
    check_page(args.page)
    check_split(args.split)
    folder = Path(args.output) / f"{args.split}.methods"
    methods = [name for name in FUSED if PRESETS[name].allows(args.backbone)]
    for name in methods:
        preset = PRESETS[name]
        own = {**vars(args), "page": "none", "output": str(folder), "split": name}
        if not preset.needs_network:
            own |= dict.fromkeys((*OF_NETWORKS, "keep_gib"))
        elif name not in (DDT, CONTRAST):
            own["keep_gib"] = None
        logger.info("--method auto: %s", name)
        make_boxes(argparse.Namespace(**{**own, **preset.options}), crew)
    if crew.is_main:
        from wend.auto.fused import write_fused

        data_set = read_images(args, keep_unreadable=args.skip_unreadable)
        images = describe_images(data_set, args.dataset, args.images)
        boxes, settings, agreed = write_fused(
            *(args.output, args.split, data_set, images, folder, methods, args.boxes)
        )
        if not page_path(args.output, args.split).exists():
            make_page(args, data_set, settings, boxes, agreed)
    crew.wait()


def _make_missing_page(
    args: argparse.Namespace, data_set: DataSet, settings: Mapping[str, Any]
) -> None:
    try:
        make_page(args, data_set, settings)
    except OSError as error:  # a folder that cannot be written into is no problem then
        logger.warning("no page: %s", error)


def _say_what_is_next(
    args: argparse.Namespace, parts: Parts, num_images: int, steps_left: str
) -> None:
    """Log what a shard has done, and what has to be done when all have."""
    if steps_left:
        logger.info(
            "shard %s: what it can do is done, and boxes need that of all shards (%s); when it is "
            "there, start the same command of every shard again",
            *(args.shard, parts.open_shards(steps_left) or "others are running"),
        )
        return
    merge = ["wend", "boxes", "merge", args.output]
    for option in ("split", "images", "exif", "datasets_root"):
        value = getattr(args, option)
        if value is not None and (option, value) != ("split", "train"):
            merge += [f"--{option.replace('_', '-')}", value]
    for module in args.imports:
        merge += ["--import", module]
    logger.info(
        "shard %s: done; of %d images %d are (%s); when all are, make the whole: %s, or the same "
        "command without --shard",
        *(args.shard, num_images, parts.num_images),
        *(parts.what_is_open(num_images, BOXES_STEP), shlex.join(merge)),
    )


def _check_arguments(args: argparse.Namespace) -> None:
    uses_network = args.method != BORDER
    allowed = {
        "--method border": (("side",), not uses_network),
        "methods of a network": (OF_NETWORKS, uses_network),
        "--method ddt": (OF_DDT, args.method == DDT),
        "--method ddt and contrast": (("keep_gib",), args.method in (DDT, CONTRAST)),
        "--method cam": (("cam_class",), args.method == CAM),
        "methods but border and ddt": (("option",), args.method not in (BORDER, DDT)),
        "methods but border and cam, whose map is found": (("layer",), args.method != CAM),
    }
    for whose, (names, is_allowed) in allowed.items():
        given = [f"--{n.replace('_', '-')}" for n in names if getattr(args, n) is not None]
        if given and not is_allowed:
            raise InputError(
                f"--method {args.method}: leave out {', '.join(given)}, which is of {whose}"
            )
    if uses_network and not (args.backbone and args.weights):
        raise InputError(
            f"--method {args.method}: needs --backbone and --weights, a local file or pretrained"
        )
    check_split(args.split)
    check_page(args.page)
    for name, value, low in (
        ("--boxes", args.boxes, 1),
        ("--num-workers", args.num_workers, 0),
        ("--side", args.side or 128, 16),
        ("--input-size", args.input_size or 448, 1),
        ("--batch-size", args.batch_size or (1 if args.batch_size is None else 0), 1),
        ("--keep-gib", args.keep_gib or 0, 0),
    ):
        if not value >= low:
            raise InputError(f"{name}: expected at least {low}, got {value}")


def read_images(args: argparse.Namespace, *, keep_unreadable: bool) -> DataSet:
    """The images that the arguments name.

    Args:
        keep_unreadable: images whose header cannot be read are in ``DataSet.unreadable``, not an
            error.
    """
    if args.images:
        from wend.formats.folder import load_folder

        reader = SizeReader(keep_unreadable=keep_unreadable, exif=args.exif or EXIF[0])
        data_set = replace(
            load_folder(args.images, classes="none", sizes=reader),
            exif=reader.exif,
            max_megapixels=max_megapixels(args),
        )
    elif args.exif:
        raise InputError("--exif is for --images; a data set's declaration has the key 'exif'")
    else:
        data_set = known_data_sets(args).get(args.dataset, keep_unreadable=keep_unreadable)
    check_keys_differ(data_set, "boxes")
    return data_set


def _prepare_border(args: argparse.Namespace, data_set: DataSet, crew: Crew) -> tuple:
    from wend.localize.border_prior import localize

    config = BorderPriorConfig(side=args.side) if args.side else BorderPriorConfig()
    packages = {"wend": __version__, "opencv": _opencv_version(), "pillow": version("pillow")}

    def work(parts: Parts) -> str:
        keys = data_set.keys
        mine = parts.share("border", range(len(keys)), lambda i: keys[i] in parts.done, lambda _: 1)
        files = [data_set.file_names[i] for i in mine]
        how = (data_set.exif, args.boxes, data_set.max_megapixels)
        results = localize(files, config, args.num_workers, *how)
        watch = Stopwatch()
        for i, (index, result) in enumerate(zip(mine, results, strict=True), start=1):
            if isinstance(result, InputError) and not args.skip_unreadable:
                raise result
            row = str(result) if isinstance(result, InputError) else result
            parts.add([image_row(keys[index], row)])
            parts.advance(1)
            if i % BATCH_SIZE == 0 or i == len(mine):
                cost = watch.lap((i - 1) % BATCH_SIZE + 1)
                parts.add([cost_row(keys[index], BOXES_STEP, cost)])
        parts.end_step(BOXES_STEP)
        return ""

    return {"config": asdict(config), "versions": packages}, work


def _opencv_version() -> str:
    import cv2

    return cv2.__version__


def _prepare_ddt(args: argparse.Namespace, data_set: DataSet, crew: Crew) -> tuple:
    from wend.localize.ddt_run import DdtOptions, group_images, localize

    group, sign = args.group or "class", args.sign or "psol"
    groups = group_images(data_set, group == "class")
    network, settings = _network(args, data_set, crew)
    keep = KEEP_GIB if args.keep_gib is None else args.keep_gib
    options = DdtOptions(
        sign,
        args.upsampling or "nearest",
        args.batch_size or BATCH_SIZE,
        int(keep * 2**30),
        args.boxes,
    )
    settings |= {"group": group, "sign": sign, "upsampling": options.upsampling}

    def work(parts: Parts) -> str:
        return localize(network, groups, parts, options)

    return settings, work


def _prepare_patches(args: argparse.Namespace, data_set: DataSet, crew: Crew) -> tuple:
    from wend.localize.methods import METHODS, with_options
    from wend.localize.patch_run import PatchOptions, localize

    method = METHODS.get(args.method)
    parameters = with_options(args.method, method, _options(args))
    network, settings = _network(args, data_set, crew)
    batch_size = args.batch_size or BATCH_SIZE
    options = PatchOptions(args.method, method, parameters, batch_size, args.boxes)
    settings["options"] = parameters

    def work(parts: Parts) -> str:
        return localize(network, parts, options)

    return settings, work


def _prepare_cam(args: argparse.Namespace, data_set: DataSet, crew: Crew) -> tuple:
    from wend.localize.cam import CLASSES, CamOptions, check_labels, localize
    from wend.localize.classifiers import ClassMaps, build_classifier
    from wend.localize.method_options import cam
    from wend.localize.methods import with_options

    parameters = cam(**with_options(CAM, cam, _options(args)))
    backbone = build_classifier(args.backbone, args.weights, args.input_size)
    maps = backbone.model
    assert isinstance(maps, ClassMaps)
    options = CamOptions(
        *(args.cam_class or CLASSES[0], parameters, args.batch_size or BATCH_SIZE, args.boxes)
    )
    if options.of == "label":
        check_labels(data_set, len(maps.bias))
    network, settings = _pass(args, data_set, crew, backbone)
    settings |= {"cam_class": options.of, "options": parameters}

    def work(parts: Parts) -> str:
        return localize(network, maps.bias.detach(), parts, options)

    return settings, work


def _prepare_contrast(args: argparse.Namespace, data_set: DataSet, crew: Crew) -> tuple:
    from wend.localize.contrast_run import ContrastOptions, localize
    from wend.localize.method_options import contrast
    from wend.localize.methods import with_options

    parameters = contrast(**with_options(CONTRAST, contrast, _options(args)))
    network, settings = _network(args, data_set, crew)
    keep = KEEP_GIB if args.keep_gib is None else args.keep_gib
    options = ContrastOptions(
        *(parameters, args.batch_size or BATCH_SIZE, int(keep * 2**30), args.boxes)
    )
    settings["options"] = parameters

    def work(parts: Parts) -> str:
        return localize(network, parts, options)

    return settings, work


PREPARE = {
    BORDER: _prepare_border,
    DDT: _prepare_ddt,
    CAM: _prepare_cam,
    CONTRAST: _prepare_contrast,
}


def _options(args: argparse.Namespace) -> dict[str, str]:
    return dict(map(_option, args.option or ()))


def _option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError(f"--option: expected NAME=VALUE, such as threshold=0.3, got {text!r}")
    return name, value


def _network(
    args: argparse.Namespace, data_set: DataSet, crew: Crew
) -> tuple[NetworkPass, dict[str, Any]]:
    """The network that the arguments name, and what its descriptors depend on."""
    from wend.localize.backbones import build_backbone

    backbone = build_backbone(args.backbone, args.weights, args.layer, args.input_size)
    return _pass(args, data_set, crew, backbone)


def _pass(
    args: argparse.Namespace, data_set: DataSet, crew: Crew, backbone: Backbone
) -> tuple[NetworkPass, dict[str, Any]]:
    import torch

    from wend.devices import choose_device
    from wend.localize.network_pass import NetworkPass

    device = choose_device(args.device or crew.device_name(), "--device")
    network = NetworkPass(
        *(backbone, data_set, device),
        num_workers=args.num_workers,
        skip_unreadable=args.skip_unreadable,
    )
    versions = {"wend": __version__, "torch": torch.__version__, "pillow": version("pillow")}
    batch_size = args.batch_size or BATCH_SIZE
    return network, {**backbone.settings, "batch_size": batch_size, "versions": versions}
