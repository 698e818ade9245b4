"""The ``WEND`` node of a config: its entries, their checks, and reading a YAML with overrides."""

from wend.config.entries import Entry, Range, at_least, config_entries, one_of
from wend.config.node import (
    add_wend_config,
    check_binary,
    check_carries_loss,
    check_config,
    localization_loss,
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
    "localization_loss",
    "merge_config",
    "one_of",
]
