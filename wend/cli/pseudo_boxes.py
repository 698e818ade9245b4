"""``wend pseudo-boxes``: boxes from images alone, in C2AM's layout and as COCO JSON.

An interrupted run goes on where it stopped: what is finished stands in
``<output>/<split>.partial`` (:mod:`wend.parts`), whichever process did it. The output itself
appears at the end, whole; ``wend boxes merge`` makes it of what shards have done.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wend.cli.finished_boxes import add_page_option, check_page, finish, finish_what_is_missing
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
from wend.errors import BadImageError, InputError
from wend.launch.crew import Crew
from wend.localize.job import Job
from wend.localize.making import make_boxes
from wend.localize.request import (
    BATCH_SIZE,
    BORDER,
    CAM,
    CONTRAST,
    DDT,
    KEEP_GIB,
    NetworkRequest,
    Request,
)
from wend.localize.whole import check_split, describe_images
from wend.structures.data_set import DataSet
from wend.structures.records import EXIF

if TYPE_CHECKING:
    from wend.localize.making import Made

AUTO, NO_REFINEMENT = "auto", "none"
OF_NETWORKS = (
    *("backbone", "weights", "input_size", "device", "batch_size"),
    *("refine", "refine_option"),
)
OF_DDT = ("group", "sign", "upsampling")
OF_METHODS = (*OF_DDT, "side", "layer", "cam_class", "option")
HELP_WIDTH = 79
logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``wend pseudo-boxes``."""
    add = parser.add_argument
    add("--method", required=True, metavar="NAME", help="one of those below, or ./file.py:name")
    add_images_options(parser, required=True)
    add(
        "--output",
        required=True,
        metavar="DIR",
        help="its folder <split> gets the boxes, a page, a data set of them, and what they cost",
    )
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
    network(
        "--refine",
        type=_refinement,
        metavar="NAME",
        help="refine maps and masks by the image's colours before boxes are made of them: none "
        "(default), one of those below, or ./file.py:name",
    )
    network(
        "--refine-option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of it, as listed below; may be repeated",
    )
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
    parser.add_argument_group("ddt, contrast and auto").add_argument(
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
    others = parser.add_argument_group("all but border, ddt and auto").add_argument
    others(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="an option of the method, as listed below; may be repeated",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _methods_in_words()


def _refinement(name: str) -> str | None:
    return None if name == NO_REFINEMENT else name


def _methods_in_words() -> str:
    """The methods and the refinements, each with a sentence and its options."""
    from wend.localize.method_options import cam, contrast
    from wend.localize.methods import METHODS
    from wend.localize.presets import FUSED
    from wend.localize.refine.refinement import REFINEMENTS

    *others, last = FUSED
    sentences = {
        BORDER: "What differs from the image's border, near its centre; no network. --side.",
        DDT: "The first principal component of the descriptors of a class's images. --group, "
        "--sign, --upsampling, --keep-gib.",
        CONTRAST: _in_words(contrast, "--option", " --keep-gib."),
        CAM: _in_words(cam, "--option", " --cam-class."),
        **{name: _in_words(METHODS.get(name), "--option") for name in METHODS},
        AUTO: f"{', '.join(others)} and {last}, fused; a box's score is how far they agree on it.",
        "./file.py:name": "A function of your own, from an image's descriptors to masks; its "
        "keyword-only parameters are its --option. docs/make_boxes.md",
    }
    refinements = {
        name: _in_words(REFINEMENTS.get(name), "--refine-option") for name in REFINEMENTS
    } | {
        "./file.py:name": "A function of your own, from a small picture of an image and log-odds "
        "to log-odds. docs/make_boxes.md"
    }
    return (
        f"methods, each with its own options:\n{_listed(sentences)}\n"
        f"refinements, each with its own options:\n{_listed(refinements)}"
    )


def _in_words(function: Callable[..., Any], flag: str, more: str = "") -> str:
    """A function's sentence and options."""
    from wend.localize.methods import options_of

    options = [f"{key}={value}" for key, value in options_of(function).items()]
    sentence = (function.__doc__ or "").strip().split("\n\n")[0]
    said = f" {flag} {', '.join(options)}." if options else ""
    return f"{' '.join(sentence.split())}{said}{more}"


def _listed(sentences: Mapping[str, str]) -> str:
    width = max(map(len, sentences))
    return "\n".join(
        textwrap.fill(
            f"{name:{width}}  {text}",
            HELP_WIDTH,
            initial_indent="  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
        for name, text in sentences.items()
    )


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
    _check_arguments(args)
    shard = shard_of(args)
    with Crew() as crew:
        try:
            data_set = read_images(args, keep_unreadable=args.skip_unreadable)
            images = describe_images(data_set, args.dataset, args.images)
            reading = (args.num_workers, args.skip_unreadable)
            job = Job(data_set, images, crew, shard, _network(args), *reading)
            (_make_fused if args.method == AUTO else _make_one)(args, job)
        except BadImageError as error:
            raise type(error)(f"{error}. --skip-unreadable leaves out such images") from error
    return 0


def _network(args: argparse.Namespace) -> NetworkRequest | None:
    if args.method == BORDER:
        return None
    return NetworkRequest(
        *(args.backbone, args.weights, args.input_size, args.device),
        batch_size=args.batch_size or BATCH_SIZE,
        keep_gib=KEEP_GIB if args.keep_gib is None else args.keep_gib,
        refine=args.refine,
        refine_options=_options(args.refine_option, "--refine-option"),
    )


def _make_one(args: argparse.Namespace, job: Job) -> None:
    own = {name: getattr(args, name) for name in OF_METHODS if name != "option"}
    request = Request(args.method, args.boxes, _options(args.option, "--option"), **own)
    made = make_boxes(request, job, args.output, args.split)
    if not job.crew.is_main:
        return
    if made.boxes is not None:
        finish(args, job.data_set, made.settings, made.boxes)
    elif made.is_whole:
        finish_what_is_missing(args, job.data_set, made.settings)
    else:
        _say_what_is_next(args, {args.method: made})


def _make_fused(args: argparse.Namespace, job: Job) -> None:
    """Make boxes by several methods and fuse them; a shard does its share of each method."""
    from wend.auto.fused import make_methods, write_fused

    methods = make_methods(job, args.output, args.split, args.boxes)
    if not job.crew.is_main:
        return
    if job.shard is not None:
        _say_what_is_next(args, methods)
        return
    fused = write_fused(args.output, args.split, job.data_set, job.images, args.boxes)
    end = finish if fused.is_new else finish_what_is_missing
    end(args, job.data_set, fused.settings, fused.boxes, fused.agreed)


def _say_what_is_next(args: argparse.Namespace, methods: Mapping[str, Made]) -> None:
    """Log what a shard has done, and what has to be done when all have."""
    waiting = {name: made for name, made in methods.items() if made.waits}
    if waiting:
        others = "; ".join(sorted({made.waits for made in waiting.values()}))
        logger.info(
            "shard %s: what it can do is done, and boxes need that of all shards (%s: %s); when it "
            "is there, start the same command of every shard again",
            *(args.shard, ", ".join(waiting), others),
        )
        return
    merge = ["wend", "boxes", "merge", args.output]
    for option in ("split", "images", "exif", "datasets_root"):
        value = getattr(args, option)
        if value is not None and (option, value) != ("split", "train"):
            merge += [f"--{option.replace('_', '-')}", value]
    for module in args.imports:
        merge += ["--import", module]
    progress = {name: made.progress or "the whole is there" for name, made in methods.items()}
    alone = len(progress) == 1
    logger.info(
        "shard %s: done; %s; when all are, make the whole: %s, or the same command without --shard",
        args.shard,
        "; ".join(said if alone else f"{name}: {said}" for name, said in progress.items()),
        shlex.join(merge),
    )


def _check_arguments(args: argparse.Namespace) -> None:
    if args.method == AUTO:
        given = _given(args, OF_METHODS)
        if given:
            raise InputError(
                f"--method auto: leave out {given}; each method runs with its own options"
            )
    uses_network = args.method != BORDER
    allowed = {
        "--method border": (("side",), not uses_network),
        "methods of a network": (OF_NETWORKS, uses_network),
        "--method ddt": (OF_DDT, args.method == DDT),
        "--method ddt, contrast and auto": (("keep_gib",), args.method in (DDT, CONTRAST, AUTO)),
        "--method cam": (("cam_class",), args.method == CAM),
        "methods but border, ddt and auto": (("option",), args.method not in (BORDER, DDT)),
        "methods but border and cam, whose map is found": (("layer",), args.method != CAM),
    }
    for whose, (names, is_allowed) in allowed.items():
        given = _given(args, names)
        if given and not is_allowed:
            raise InputError(f"--method {args.method}: leave out {given}, which is of {whose}")
    if uses_network and not (args.backbone and args.weights):
        other = "; without a network there is --method border" if args.method == AUTO else ""
        raise InputError(
            f"--method {args.method}: needs --backbone and --weights, a local file or "
            f"pretrained{other}"
        )
    if args.refine_option and not args.refine:
        raise InputError("--refine-option: is of a refinement; name it: --refine crf")
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


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> str:
    """Those of some options that were given, as on the command line."""
    return ", ".join(f"--{n.replace('_', '-')}" for n in names if getattr(args, n) is not None)


def read_images(args: argparse.Namespace, *, keep_unreadable: bool) -> DataSet:
    """The images that the arguments name.

    Args:
        keep_unreadable: images whose header cannot be read are in ``DataSet.unreadable``, not an
            error.
    """
    if args.images:
        from wend.cli.image_folder import read_image_folder

        data_set = read_image_folder(
            *(args.images, args.output, args.exif, max_megapixels(args)),
            keep_unreadable=keep_unreadable,
        )
    elif args.exif:
        raise InputError("--exif is for --images; a data set's declaration has the key 'exif'")
    else:
        data_set = known_data_sets(args).get(args.dataset, keep_unreadable=keep_unreadable)
    check_keys_differ(data_set, "boxes")
    return data_set


def _options(given: Sequence[str] | None, flag: str) -> dict[str, str]:
    """Options by name, of texts NAME=VALUE; the last of a name counts."""
    options = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InputError(f"{flag}: expected NAME=VALUE, such as threshold=0.3, got {text!r}")
        options[name] = value
    return options
