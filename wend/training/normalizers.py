"""Moving averages that losses are divided by and that are no buffers of a detector.

Detectron2's FCOS and RetinaNet keep theirs as an attribute ``loss_normalizer``, which no state dict
has: a training that is resumed would begin again at a number of Detectron2's.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

ATTRIBUTE = "loss_normalizer"


class Normalizers:
    """The ``loss_normalizer`` of each module that has one, as a part of a checkpoint.

    Args:
        model: the detector; its modules may get theirs in their first step.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, float]:
        """Name of the module -> its normalizer."""
        values = {name: vars(m).get(ATTRIBUTE) for name, m in self._model.named_modules()}
        return {
            name: float(value)
            for name, value in values.items()
            if (isinstance(value, int | float) and not isinstance(value, bool))
            or (isinstance(value, Tensor) and value.numel() == 1)
        }

    def as_now(self) -> Callable[[], None]:
        """What lets them be again as they are now; a module that has none has none again."""
        before = [(vars(m), vars(m).get(ATTRIBUTE)) for m in self._model.modules()]

        def restore() -> None:
            for attributes, value in before:
                attributes.pop(ATTRIBUTE, None)
                if value is not None:
                    attributes[ATTRIBUTE] = value

        return restore

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Set them; a module that the detector has not is a KeyError."""
        modules = dict(self._model.named_modules())
        for name, value in state.items():
            setattr(modules[name], ATTRIBUTE, float(value))
