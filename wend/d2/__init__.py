"""WEND as a Detectron2 project. Importing it registers (and does nothing else):

- data sets in ``DatasetCatalog``: ``cub_train_c2am``, ``cub_test``, ... (``wend.d2.catalog``)
- backbones: ``build_x_backbone``, ``build_x_fpn_backbone`` and ``build_x_fpn_p6p7_backbone`` for x
  in ``densenet161``, ``vgg16``, ``googlenet``, ``inception_v3``, ``timm`` and ``small_cnn``
  (``wend.d2.backbones``)
- meta-architectures: ``BinaryFCOS`` (``wend.d2.fcos``), ``BinaryRCNN`` (``wend.d2.faster_rcnn``),
  ``CLN`` (``wend.d2.cln``), and those of ``wend.modeling.detectors``: ``DeformableDETR`` and
  ``SCR`` (``wend.d2.adapter``)
- proposal generators: ``BatchedRPN`` (``wend.d2.rpn``) and ``CLNRPN``, with the RPN head
  ``CLNRPNHead`` (``wend.d2.cln_rpn``)
- ROI heads: ``BinaryROIHeads`` (``wend.d2.faster_rcnn``), ``CLNROIHeads`` (``wend.d2.cln``)

This room alone imports Detectron2; it may import every room of WEND but ``wend.cli`` and
``wend.tv``. To add a detector that needs Detectron2: subclass its class behind
:class:`wend.d2.joint_loss.JointLoss`, register it, and import its file here. One that needs no
engine belongs into ``wend.modeling.detectors``.
"""

try:
    import detectron2  # noqa: F401
except ImportError as error:
    raise ImportError(
        "wend.d2 needs Detectron2, which is not installed (it is not on PyPI); README says which "
        "commit and links its installation page. Without it, use wend.tv (--engine torchvision)."
    ) from error

from detectron2.modeling import META_ARCH_REGISTRY

from wend.config import add_wend_config
from wend.d2 import adapter, backbones, cln, faster_rcnn, fcos  # noqa: F401
from wend.d2.catalog import register_wsol_dataset
from wend.d2.evaluator import WSOLEvaluator
from wend.d2.mapper import WSOLDatasetMapper
from wend.d2.trainer import Trainer


def detector_names() -> list[str]:
    """``MODEL.META_ARCHITECTURE`` of this package's and the user's detectors, sorted."""
    return sorted(
        name
        for name, detector in META_ARCH_REGISTRY
        if not detector.__module__.startswith("detectron2.")
    )


__all__ = [
    "Trainer",
    "WSOLDatasetMapper",
    "WSOLEvaluator",
    "add_wend_config",
    "detector_names",
    "register_wsol_dataset",
]
