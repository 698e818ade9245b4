"""MLflow: a run of the experiment ``$MLFLOW_EXPERIMENT_NAME`` (``wend``), with the whole config.

Where it goes, ``$MLFLOW_TRACKING_URI`` says, as everywhere with MLflow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from wend.event_sinks.registry import RunToLog, event_sink

ID_FILE = "mlflow_run_id.txt"  # by which a training that is resumed goes on in its run
LONGEST = 6000  # characters of a parameter's value


@event_sink("mlflow")
class MLflow:
    """Sends numbers to a run, which is called as the run's folder."""

    package = "mlflow"

    def __init__(self, run: RunToLog) -> None:
        import mlflow

        id_file = run.output_dir / ID_FILE
        known = id_file.read_text().strip() if run.resumed and id_file.is_file() else None
        self._mlflow: Any = mlflow
        mlflow.set_experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "wend"))
        started = mlflow.start_run(run_id=known, run_name=None if known else run.name)
        run.output_dir.mkdir(parents=True, exist_ok=True)
        id_file.write_text(f"{started.info.run_id}\n")
        if not known:  # a parameter may not change
            mlflow.log_params({name: str(v)[:LONGEST] for name, v in run.config.items()})

    def add(self, values: Mapping[str, float], step: int) -> None:
        """Send numbers."""
        self._mlflow.log_metrics(dict(values), step=step)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()
