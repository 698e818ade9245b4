"""The ``WEND`` node of a config: its entries, their checks, and reading a YAML with overrides."""

from wend.config.node import (
    add_wend_config,
    check_binary,
    check_config,
    localization_loss,
    number_of_classes,
)
from wend.config.reading import merge_config

__all__ = [
    "add_wend_config",
    "check_binary",
    "check_config",
    "localization_loss",
    "merge_config",
    "number_of_classes",
]
