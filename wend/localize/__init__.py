"""Boxes from images alone, without box labels: the methods of ``wend pseudo-boxes``.

DDT on the features of any backbone (``ddt``, ``ddt_run``, ``backbones``), and a prior of border and
centre that needs no network (``border_prior``); ``writers`` writes their boxes, ``partial`` keeps
what an interrupted run has finished. May import ``classes`` (for its preprocessing), ``formats``,
``images`` and what is below them.

One more method is a module that gives a ``FoundBox`` per image, and its case in
``wend/cli/pseudo_boxes.py``.
"""
