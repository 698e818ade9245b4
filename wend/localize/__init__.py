"""Boxes from images alone, without box labels: the methods of ``wend pseudo-boxes``.

DDT on the features of any backbone (``ddt``, ``signs``, ``ddt_run``, ``backbones``), and a prior of
border and centre that needs no network (``border_prior``). Each process of a run notes what it has
``found``; ``whole`` makes the boxes of all images of it, and ``writers`` writes them. May import
``classes`` (for its preprocessing), ``formats``, ``images`` and what is below them.

One more method is a module that gives a ``FoundBox`` per image, and its case in
``wend/cli/pseudo_boxes.py``.
"""
