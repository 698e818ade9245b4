"""Class predictions: classifiers that make them, and files that hold them.

``predictions`` is the file that evaluation reads, ``imports`` reads the files of other programs,
``classifiers`` and ``preprocessing`` predict with a local weight file. May import ``images``
and what is below it.

One more family of classifiers is a builder in ``classifiers.build_classifier``; one more file of
another program is a reader in ``imports.import_class_predictions``.
"""
