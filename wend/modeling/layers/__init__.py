"""Layers and losses of the detectors, in PyTorch alone.

Tensors come in and tensors go out: nothing here knows an engine, a config or a data set. This room
may import ``wend.errors`` and ``wend.structures`` only; :mod:`wend.modeling.detectors` puts its
parts together.

To add a layer: write its file with the letters of its shapes at the top, name the paper and the
equation, and test it against a second implementation.
"""
