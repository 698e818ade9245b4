"""Data sets by name -> ``DataSet``: built in, registered by code, or declared in a YAML file.

``catalog.DataSets`` looks names up, ``ground_truth.load_source`` takes files as well, ``store``
keeps an imported data set as a file that processes share, ``toy`` generates one. May import
``pseudo_boxes``, ``formats``, ``images`` and what is below them.

One more built-in name is a row of ``catalog._built_in``; one more format that declarations know is
a row of ``declared.FORMATS``.
"""
