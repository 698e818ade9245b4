"""Boxes from images alone, without box labels: the methods of ``wend pseudo-boxes``.

A ``request`` names a method, a ``job`` the images, the processes and the network (``networks``,
``backbones``, ``classifiers``); ``methods_ready`` makes work of the two, and ``making`` boxes.
``network_pass`` takes images through the network, and ``kept_maps`` says which of its maps stay in
memory.

The methods: DDT (``ddt``, ``signs``, ``ddt_run``), CCAM's head (``contrast``, ``contrast_run``),
class activation maps (``cam``), a prior of border and centre that needs no network
(``border_prior``), and those that group an image's patches (``methods``, ``patches``,
``patch_run``). ``presets`` are the ones that are compared and fused. Boxes of a map:
``boxes``, ``regions``. Each process of a run notes what it has ``found`` and its ``cost``;
``whole`` makes the boxes of all images of it, of shards by ``merging``, and ``writers`` writes
them.
"""
