"""WEND on torchvision's detectors, for machines without Detectron2: a stand-in, one process.

It reads the same YAML, as far as torchvision has what an entry asks for; anything else is an error
that names Detectron2.
"""
