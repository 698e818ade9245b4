"""Image files: finding them below a folder, their sizes from headers, their pixels as RGB.

Pixels and sizes are those of the file as stored, since pseudo boxes and truth mostly were made so,
or turned by EXIF's orientation, as the data set's policy says (``orientation``). May import
``structures``, ``errors`` and ``files``; knows no data set by name and no format of truth.

One more ending of image files is an entry of ``paths.SUFFIXES``; one more kind of pixels (bits,
colours) is a case of ``reading.to_rgb``.
"""
