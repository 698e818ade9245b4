"""A registered function as a config entry chose it, whose numbers are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wend.errors import InputError
from wend.registry import FunctionRegistry
from wend.user_code import own_errors


@dataclass(frozen=True)
class Chosen:
    """A function that returns a number for each sample or image.

    Attributes:
        entry: the config entry that names it, for messages.
        kind: what it is, for messages: "sample weight".
        name: a registered name, ``module:name`` or ``./file.py:name``.
        function: the function.
        parameters: its keyword-only parameters.
        each: what it returns a number for: "sample" or "image".
    """

    entry: str
    kind: str
    name: str
    function: Callable[..., Any]
    parameters: Mapping[str, Any]
    each: str

    def __call__(self, context: object, count: int) -> Tensor:
        """The numbers (count,), as the function returns them.

        Raises:
            InputError: it fails, or returns no tensor of this shape.
        """
        with own_errors(self.function, f"{self} failed"):
            values = self.function(context, **self.parameters)
        is_tensor = isinstance(values, Tensor)
        if not is_tensor or tuple(values.shape) != (count,) or values.is_complex():
            came = (
                f"{tuple(values.shape)} of {values.dtype}" if is_tensor else type(values).__name__
            )
            raise self.error(f"a tensor ({count},), a number for each {self.each}", came)
        return values

    def error(self, expected: str, came: object) -> InputError:
        """What is wrong with the numbers, for a user."""
        return InputError(f"{self}: expected to return {expected}, got {came}")

    def __str__(self) -> str:
        return f"config entry {self.entry}: {self.kind} {self.name!r}"


def choose(
    entry: str,
    registry: FunctionRegistry[Callable[..., Any]],
    name: str,
    parameters: Mapping[str, Any],
    trial: object = None,
) -> Chosen:
    """The function of a name, if it can be called with these parameters.

    Args:
        entry, name, parameters: see :class:`Chosen`.
        registry: of functions with one argument: of the "context" of samples, or of "images".
        trial: a context of no samples that it is tried on, if any.

    Raises:
        InputError: there is no such function, it cannot be called so, or fails in the trial.
    """
    each = "image" if registry.arguments == ("images",) else "sample"
    try:
        function = registry.get(name)
        chosen = Chosen(entry, registry.kind, name, function, dict(parameters), each)
        with registry.trial(name, parameters):
            pass  # only whether it can be called so
    except InputError as error:
        raise type(error)(f"config entry {entry}: {error}") from error
    if trial is not None:
        try:
            chosen(trial, 0)
        except InputError:
            raise
        except ValueError as error:  # a parameter out of its range
            raise InputError(f"{chosen}: {error}") from None
    return chosen
