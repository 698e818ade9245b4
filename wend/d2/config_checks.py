"""Entries of Detectron2 that have no effect here."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode, get_cfg

from wend.run import value_of

# Detectron2's entries that nothing here reads -> what has the effect instead
WITHOUT_EFFECT = {
    "INPUT.MIN_SIZE_TRAIN": "WEND.RESIZE and WEND.CROP set the size of crops",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "WEND.RESIZE and WEND.CROP set the size of crops",
    "INPUT.MAX_SIZE_TRAIN": "WEND.RESIZE and WEND.CROP set the size of crops",
    "INPUT.MIN_SIZE_TEST": "WEND.RESIZE and WEND.CROP set the size of crops",
    "INPUT.MAX_SIZE_TEST": "WEND.RESIZE and WEND.CROP set the size of crops",
    "INPUT.CROP": "WEND.RESIZE and WEND.CROP set the random crop",
    "TEST.AUG": "there is no augmentation in testing",
    "TEST.PRECISE_BN": "the statistics of batch norm are those of training",
    "MODEL.MASK_ON": "data sets have boxes, no masks",
    "MODEL.KEYPOINT_ON": "data sets have boxes, no keypoints",
    "MODEL.LOAD_PROPOSALS": "proposals come from the detector's own RPN",
    "DATASETS.PROPOSAL_FILES_TRAIN": "proposals come from the detector's own RPN",
    "DATASETS.PROPOSAL_FILES_TEST": "proposals come from the detector's own RPN",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN": "proposals come from the detector's own RPN",
    "DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST": "proposals come from the detector's own RPN",
    "INPUT.MASK_FORMAT": "data sets have boxes, no masks",
    "TEST.KEYPOINT_OKS_SIGMAS": "data sets have boxes, no keypoints",
}


def without_effect(cfg: CfgNode) -> Iterator[str]:
    """A message for each entry of Detectron2 that was changed and does nothing here."""
    before = get_cfg()
    for entry, instead in WITHOUT_EFFECT.items():
        value, default = value_of(cfg, entry), value_of(before, entry)
        if value != default:
            yield (
                f"config entry {entry}: has no effect on WEND's crops ({instead}); leave it at "
                f"Detectron2's {dict(default) if isinstance(default, CfgNode) else default!r}"
            )
