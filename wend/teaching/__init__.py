"""An average of the weights, and the teacher that it is: boxes that get better while training.

Tensors in and out: the room knows no engine and no config. ``ema`` averages a model's weights,
``refine`` holds the functions that make boxes to learn from of given and predicted ones
(``WEND.REFINE``), ``teacher`` asks the average for its boxes of a batch and applies one of them.
May import ``loading`` and what is below it.
"""
