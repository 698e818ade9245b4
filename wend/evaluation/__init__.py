"""Numbers of detections: protocols, metrics, intervals, baselines, error analysis, tables, files.

``protocols`` says how boxes are compared, ``per_image`` scores a data set's detections under one,
``metrics`` makes numbers of that, ``scoring`` all of them with intervals and ``fixed_boxes``'
baseline, and ``evaluation`` is where every engine ends.

May import ``formats``, ``structures`` and what is below them; knows no config, no names of data
sets, and no torch. One more metric is a function with ``metrics.register_metric``, one more
protocol an entry of ``protocols.PROTOCOLS``; both can also stand in a user's own file.
"""
