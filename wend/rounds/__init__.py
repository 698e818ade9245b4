"""Self-training in rounds: the steps of ``wend rounds``.

A round trains detectors on the present boxes, each on the images of all folds but one, looks with
each at the images that it has not seen, and keeps what they predict where the looks agree, or all.
``images`` are what is trained on and its folds, ``looks`` are the ways of looking and what they
have in common, ``keep`` says which boxes are kept, ``acceptance`` whether a round made anything
worse, ``table`` sets what happened side by side, and ``pipeline`` puts the steps in order. Each
training and each look is an ordinary command of ``wend``, which the pipeline is handed a function
for. May import all rooms but ``cli`` and ``auto``.
"""
