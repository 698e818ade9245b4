from engine_runs import _hung_workers  # noqa: F401
