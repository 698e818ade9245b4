"""Methods made ready: of a request and a job, what the boxes depend on and the work itself.

A method's own modules, and PyTorch, are imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from wend import __version__
from wend.localize.job import Job
from wend.localize.request import BORDER, CAM, CONTRAST, DDT, Request
from wend.parts import Parts
from wend.user_code import code_of_own


@dataclass(frozen=True)
class Ready:
    """A method that can be run.

    Attributes:
        settings: what its boxes depend on besides the images, JSON values.
        work: does this process's share; returns the step of other shards that it waits for, "" for
            none.
    """

    settings: dict[str, Any]
    work: Callable[[Parts], str]


def make_ready(request: Request, job: Job) -> Ready:
    """The method that is asked for, with its network built.

    Raises:
        InputError: an option, the network or the images do not fit.
    """
    return READY.get(request.method, _patches)(request, job)


def _border(request: Request, job: Job) -> Ready:
    from wend.localize.border_prior import BorderPriorConfig
    from wend.localize.border_run import BorderOptions, localize

    config = BorderPriorConfig(side=request.side) if request.side else BorderPriorConfig()
    packages = {"wend": __version__, "opencv": _opencv_version(), "pillow": version("pillow")}
    options = BorderOptions(config, job.num_workers, request.number, job.skip_unreadable)
    settings = {"config": asdict(config), "versions": packages}
    return Ready(settings, lambda parts: localize(job.data_set, parts, options))


def _opencv_version() -> str:
    import cv2

    return cv2.__version__


def _ddt(request: Request, job: Job) -> Ready:
    from wend.localize.ddt_run import DdtOptions, group_images, localize

    group, sign = request.group or "class", request.sign or "psol"
    groups = group_images(job.data_set, group == "class")
    network = job.networks.of_layer(request.layer)
    upsampling = request.upsampling or "nearest"
    options = DdtOptions(sign, upsampling, job.networks.batch_size, request.number)
    settings = network.settings | {"group": group, "sign": sign, "upsampling": upsampling}
    return Ready(settings, lambda parts: localize(network.over, groups, parts, options))


def _patches(request: Request, job: Job) -> Ready:
    from wend.localize.methods import METHODS, with_options
    from wend.localize.patch_run import PatchOptions, localize

    name = request.method
    method = METHODS.get(name)
    parameters = with_options(name, method, request.options)
    network = job.networks.of_layer(request.layer)
    options = PatchOptions(name, method, parameters, job.networks.batch_size, request.number)
    settings = network.settings | {"options": parameters} | code_of_own(method)
    return Ready(settings, lambda parts: localize(network.over, parts, options))


def _cam(request: Request, job: Job) -> Ready:
    from wend.localize.cam import CLASSES, CamOptions, check_labels, localize
    from wend.localize.method_options import cam
    from wend.localize.methods import with_options

    parameters = cam(**with_options(CAM, cam, request.options))
    network, bias = job.networks.classifier()
    chosen = request.cam_class or CLASSES[0]
    options = CamOptions(chosen, parameters, job.networks.batch_size, request.number)
    if chosen == "label":
        check_labels(job.data_set, len(bias))
    settings = network.settings | {"cam_class": chosen, "options": parameters}
    return Ready(settings, lambda parts: localize(network.over, bias, parts, options))


def _contrast(request: Request, job: Job) -> Ready:
    from wend.localize.contrast_run import ContrastOptions, localize
    from wend.localize.method_options import contrast
    from wend.localize.methods import with_options

    parameters = contrast(**with_options(CONTRAST, contrast, request.options))
    network = job.networks.of_layer(request.layer)
    options = ContrastOptions(parameters, job.networks.batch_size, request.number)
    settings = network.settings | {"options": parameters}
    return Ready(settings, lambda parts: localize(network.over, parts, options))


READY: dict[str, Callable[[Request, Job], Ready]] = {
    BORDER: _border,
    DDT: _ddt,
    CAM: _cam,
    CONTRAST: _contrast,
}
