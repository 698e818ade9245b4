"""FCOS's arithmetic for a whole batch at once, which the detectors of both engines share.

:mod:`wend.modeling.fcos.output` is what a head says, ``locations`` where it says it, ``targets``
which box each location is for, ``losses`` the terms of L_sup, ``training`` those terms as
:class:`wend.losses.LocalizationLoss` chooses and weighs them, with L_unsup, and ``boxes`` the
candidates of inference and of exported files. An engine's detector makes the head's output, and
says how its own class differs: names of terms, normalizer, the order of suppression and border.

Boxes are here often in their *outward* form ``(-x0, -y0, x1, y1)``: all four numbers grow as the
box does, so that one operation treats its four sides.
"""
