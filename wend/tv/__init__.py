"""WEND on torchvision's detectors, for machines without Detectron2: a stand-in, one process.

It reads the same YAML, as far as torchvision has what an entry asks for; anything else is an error
that names Detectron2.
"""

from wend.tv.models import META_ARCH_REGISTRY


def detector_names() -> list[str]:
    """``MODEL.META_ARCHITECTURE`` of this package's and the user's detectors, sorted."""
    return META_ARCH_REGISTRY.names()


__all__ = ["META_ARCH_REGISTRY", "detector_names"]
