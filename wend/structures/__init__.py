"""The types that travel between the rooms, and their arithmetic.

Here live boxes and their checks, the table of the boxes of many images (``BoxTable``), the data
set as columns (``DataSet``) and its rows (``ImageRecord``), class predictions, the map between an
image and its crop (``Frame``), and the one match of file names. Imports nothing of WEND but
``errors`` and ``files``: no reader, no configuration, no torch at import.

One more column of a data set is a field of ``DataSet``, with its line in ``__post_init__`` and
``take``; one more operation on boxes, which takes arrays and tensors alike, belongs in ``boxes``.
"""
