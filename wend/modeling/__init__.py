"""The parts of the detectors of both engines.

:mod:`wend.modeling.backbones` are the backbones, :mod:`wend.modeling.detectors` the detectors that
know no engine, :mod:`wend.modeling.layers` what those are made of; here are also weight files under
others' names and the optimizer's settings. This room may import ``wend.losses`` and the other
single files below it, ``wend.registry`` and ``wend.errors``; no engine, no data and not
``wend.config``. The signs of its packages say how to add a backbone, a detector or a layer.
"""
