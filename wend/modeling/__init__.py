"""What the detectors of both engines are made of.

Backbones, layers, weight files and the optimizer's settings.
"""
