"""Numbers of detections: protocols, metrics, statistics, baselines, error analysis, tables, files.

``protocols`` says how boxes are compared, ``per_image`` scores a data set's detections under one,
``metrics`` makes numbers of that (one of your own: ``metrics.register_metric``), ``scoring`` all of
them with intervals and ``fixed_boxes``' baseline, and ``evaluation`` is where every engine ends.
Works on tables (``wend.structures``); knows no config, no names of data sets, and no torch.
"""
