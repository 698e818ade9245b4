"""Backbones of both engines: networks that output feature maps by name.

A backbone is a :class:`wend.modeling.backbones.body.Body`: it has channels and strides by feature
name and maps images to a dict of feature maps. :func:`wend.modeling.backbones.build.build_body`
makes one from a config. This room alone imports torchvision's networks outside of ``wend.tv``; it
may import ``wend.registry`` and ``wend.errors``.

To add a backbone: write its body and register it in :data:`wend.modeling.backbones.build.BODIES`;
``MODEL.BACKBONE.NAME`` is ``build_<name>_backbone`` on both engines. A user's own does the same
from a file of the user's (``docs/extend.md``).
"""
