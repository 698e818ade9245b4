"""Readers of box files: one module per kind of file.

Each reader registers itself with ``wend.pseudo_boxes.registry.box_source`` and returns
``PseudoBoxes``. One more is a function here, imported in ``wend/pseudo_boxes/__init__.py``, which
makes its name known.
"""
