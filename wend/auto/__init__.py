"""From a folder of photos to a detector in one command: the steps of ``wend auto``.

``photos`` and ``near_duplicates`` look at the photos, ``parts`` holds some of them out,
``agreement`` chooses pseudo boxes without truth, ``matching`` a score threshold, ``standing`` says
what the numbers are worth, ``steps`` keeps a record of what is done, and ``pipeline`` puts them in
order. Whatever an ordinary command of ``wend`` does is done by that command: the pipeline is handed
the function that runs one. May import all rooms but ``cli``.
"""
