"""Event sinks: where the numbers of a training go besides the log: TensorBoard, W&B, MLflow.

``WEND.LOGGERS`` names sinks; :class:`OpenSinks` opens them for a run and hands numbers on. One more
is a class with the decorator ``event_sink`` in a module that is imported here, or in a user's own
file. What a sink needs is imported when it is opened.
"""

from wend.event_sinks import mlflow_run, tensorboard, wandb_run  # noqa: F401  # register
from wend.event_sinks.open_sinks import OpenSinks
from wend.event_sinks.registry import EVENT_SINKS, EventSink, RunToLog, event_sink, require_packages

__all__ = ["EVENT_SINKS", "EventSink", "OpenSinks", "RunToLog", "event_sink", "require_packages"]
