"""Detectors as one function of tensors, to be batched or written to a file; see ``base``.

:mod:`wend.modeling.candidates.base` has what all of them share, ``fcos`` and ``rcnn`` the
arithmetic that the engines' detectors have in common, ``tensors`` the detectors of
:mod:`wend.modeling.detectors`. ``wend.d2.candidates`` and ``wend.tv.candidates`` take a model
apart and hand its parts to these classes. This room may import ``wend.modeling.layers`` and
``wend.modeling.detectors``.

To make a detector of yours exportable: if it is a subclass of
:class:`wend.modeling.detectors.base.Detector`, implement its ``best_boxes``.
"""
