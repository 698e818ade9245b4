"""What of a library's detector a subclass of ours may still override."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from wend.errors import InputError


def check_hooks(detector: type, ours: type, hooks: Mapping[str, Sequence[str]]) -> None:
    """Refuse methods of a subclass that nobody would call.

    Our detectors compute a whole batch at once, where the library's go image by image through
    methods of their own.

    Args:
        detector: a subclass of ours.
        ours: our class.
        hooks: name of a method that our class calls -> the library's methods that it stands for.

    Raises:
        InputError: the detector overrides one of those, and not the method that is called.
    """
    for called, replaced in hooks.items():
        if getattr(detector, called) is not getattr(ours, called):
            continue
        for name in replaced:
            if getattr(detector, name) is not getattr(ours, name):
                raise InputError(
                    f"detector {detector.__name__}: overrides {name}, which {ours.__name__} does "
                    f"not call: it computes a whole batch at once; override {called} "
                    f"(docs/extend.md)"
                )
