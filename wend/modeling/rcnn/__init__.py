"""Faster R-CNN's arithmetic for a whole batch, for the detectors of both engines.

Each function takes and returns tensors of fixed shapes with masks. None loops over images, and none
asks the device for a number of boxes, samples or proposals.
"""
