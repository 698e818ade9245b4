"""Detectors that know no engine: tensors in, loss terms or boxes and scores out.

Each file is one detector, a subclass of :class:`wend.modeling.detectors.base.Detector`. Each engine
has one class, for all of them, that turns its containers into tensors and back:
:mod:`wend.d2.adapter` and :mod:`wend.tv.adapter`. This room may import ``wend.modeling.layers``,
``wend.modeling.backbones.feature_maps``, ``wend.losses`` and what lies below; no engine and not
``wend.config``.

To add a detector: write its file, register it in :data:`DETECTORS` (its name is the value of
``MODEL.META_ARCHITECTURE`` on both engines), and give it a table of entries in
``wend/config/detectors.py``. A user's own does the same from a file of the user's
(``docs/extend.md``).
"""

from wend.modeling.detectors.base import DETECTORS, Detector
from wend.modeling.detectors.deformable_detr import DeformableDETR
from wend.modeling.detectors.scr import SCR

__all__ = ["DETECTORS", "DeformableDETR", "Detector", "SCR"]
