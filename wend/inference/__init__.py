"""A trained detector on any images: loading it, predicting, and training it further.

``load`` reads run folders and weight files, ``detector`` predicts, ``detections`` are what it
predicts, ``inputs`` turns what users have (paths, folders, patterns, arrays, videos) into images.
``engines`` names the engines, whose ``inference`` modules build the models. May import every room
but ``wend.cli`` and ``wend.auto``; imports an engine only where a detector of it is loaded.

A kind of file that can be loaded is a row of :data:`wend.inference.load.LOADERS`: its ending and a
module with ``load``.
"""
