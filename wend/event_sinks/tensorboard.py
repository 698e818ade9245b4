"""TensorBoard's event files, in the run's folder: ``tensorboard --logdir output``."""

from __future__ import annotations

from collections.abc import Mapping

from wend.event_sinks.registry import RunToLog, event_sink


@event_sink("tensorboard")
class TensorBoard:
    """Writes ``events.out.tfevents.*``; Detectron2 writes such a file of its own."""

    package = "tensorboard"

    def __init__(self, run: RunToLog) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard leaves out what an earlier start has logged from there on
        purge = {"purge_step": run.start_iter} if run.resumed else {}
        self._writer = SummaryWriter(str(run.output_dir), **purge)

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Add scalars, in the file at once."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
