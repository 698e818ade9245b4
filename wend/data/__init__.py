"""Data sets and pseudo boxes: from the files of others to :class:`wend.records.ImageRecord`."""
