"""Names -> data sets: built in, registered by code, declared in YAML files; stores; the toy set.

``catalog.DataSets`` looks names up, ``ground_truth.load_source`` takes files as well. May import
``pseudo_boxes``, ``formats``, ``images`` and what is below them. One more built-in name is a row
of ``catalog._built_in``; one more format that declarations know, of ``declared.FORMATS``.
"""
