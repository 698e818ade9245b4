"""The ``WEND`` node of a config: its entries, their checks, and reading a YAML with overrides.

An entry is data (``entries``): ``common`` holds those of every detector, ``detectors`` those of
each detector and backbone, ``data`` those of images and caches, ``teaching_entries`` those of the
average of the weights and the teacher that it is; ``node`` makes and checks the node and
``reading`` fills it. May import ``evaluation``, ``losses``, ``schedules``, ``teaching`` and what is
below them; it reads no data and builds no detector. One more entry is an :class:`Entry` in its
table, one more node a call of :func:`config_entries`, also in a user's own file.
"""

from wend.config.entries import Entry, Range, at_least, config_entries, one_of
from wend.config.node import (
    add_wend_config,
    check_binary,
    check_carries_loss,
    check_config,
    crop_arguments,
    localization_loss,
    teaching_of,
    view_of,
)
from wend.config.reading import merge_config

__all__ = [
    "Entry",
    "Range",
    "add_wend_config",
    "at_least",
    "check_binary",
    "check_carries_loss",
    "check_config",
    "config_entries",
    "crop_arguments",
    "localization_loss",
    "merge_config",
    "one_of",
    "teaching_of",
    "view_of",
]
