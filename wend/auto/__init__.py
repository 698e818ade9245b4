"""From a folder of photos to a detector in one command: the steps of ``wend auto``.

``photos`` looks at the photos, ``matching`` chooses a score threshold, ``standing`` says what the
numbers are worth, and ``pipeline`` puts the steps in order. Whatever an ordinary command of
``wend`` does is done by that command: the pipeline is handed the function that runs one. May import
all rooms but ``cli`` and ``rounds``.
"""
