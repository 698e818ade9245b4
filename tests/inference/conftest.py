from engine_runs import _hung_workers, _one_thread, _own_loggers, _toy_datasets  # noqa: F401
