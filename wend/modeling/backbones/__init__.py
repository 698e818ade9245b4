"""Backbones that the engines share: networks that put out feature maps by name.

A body has ``channels`` and ``strides`` by feature name and maps images to a dict of feature maps.
:func:`wend.modeling.backbones.build.build_body` makes one from a config.
"""
