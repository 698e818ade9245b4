"""DropLoss: background that no pseudo box is near may be an object that was overlooked."""

from __future__ import annotations

from torch import Tensor

from wend.losses.context import LossContext
from wend.losses.overlaps import overlaps
from wend.losses.weights import sample_weights


@sample_weights("drop_loss", node="DROP_LOSS")
def drop_loss(context: LossContext, *, iou: float = 0.01) -> Tensor:
    """0 for background whose box overlaps no pseudo box of its image by more than ``iou``, else 1.

    So the detector is not punished for finding what its boxes miss. Samples that are assigned to a
    pseudo box keep their loss, however far away the box is that they predict: CutLER weighs its
    classifier alone, these weights reach the regression too, which has to bring that box near.

    Args:
        context: samples with boxes; in an image without pseudo boxes none has a loss.
        iou: in [0, 1).

    Returns:
        Weights (S,).

    Source: Wang et al., "Cut and Learn for Unsupervised Object Detection and Instance
    Segmentation", CVPR 2023; in its repository
    ``cutler/modeling/roi_heads/custom_cascade_rcnn.py``, lines 190-219 at cca0a270, the
    threshold in ``cascade_mask_rcnn_R_50_FPN.yaml``, line 31. There the box is the one that the
    R-CNN predicts, here Faster R-CNN's is the proposal.
    """
    shared = overlaps(context, "drop_loss").iou()
    is_near = (shared > iou).any(1)
    return (is_near | (context.known_labels == 1)).to(shared)
