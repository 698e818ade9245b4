"""Weights & Biases: a run of the project ``$WANDB_PROJECT`` (``wend``), with the whole config.

Its own variables hold: ``WANDB_MODE=offline`` needs no network and no account, and ``wandb sync``
sends the folder later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from wend.event_sinks.registry import RunToLog, event_sink

ID_FILE = "wandb_run_id.txt"  # by which a training that is resumed goes on in its run


@event_sink("wandb")
class WeightsAndBiases:
    """Sends numbers to a run, which is called as the run's folder."""

    package = "wandb"

    def __init__(self, run: RunToLog) -> None:
        import wandb

        id_file = run.output_dir / ID_FILE
        known = id_file.read_text().strip() if run.resumed and id_file.is_file() else None
        run.output_dir.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "wend"),
            name=run.name,
            dir=str(run.output_dir),
            config=dict(run.config),
            id=known,
            resume="allow" if known else None,
        )
        id_file.write_text(f"{self._run.id}\n")

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers; several calls of one step are one row of its history."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
