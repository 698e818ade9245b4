"""WEND on torchvision's detectors, for machines without Detectron2: a stand-in, one process.

It reads the same YAML, as far as torchvision can do what an entry says; anything else is an error
that names Detectron2. ``wend.tv.models`` has the detectors, ``engine`` trains and evaluates,
``dataset`` makes batches, ``config`` has Detectron2's entries with their defaults, and ``run`` is
``wend train --engine torchvision``. This room may import every room of WEND but ``wend.cli`` and
``wend.d2``.

To add a detector that needs torchvision: subclass its class behind
:class:`wend.tv.models.JointLoss` and register it in :data:`META_ARCH_REGISTRY`. One that needs no
engine belongs into ``wend.modeling.detectors``.
"""

from wend.tv.models import META_ARCH_REGISTRY


def detector_names() -> list[str]:
    """``MODEL.META_ARCHITECTURE`` of this package's and the user's detectors, sorted."""
    return META_ARCH_REGISTRY.names()


__all__ = ["META_ARCH_REGISTRY", "detector_names"]
