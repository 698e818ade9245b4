"""Readers of others' truth files: one module per format, each returns a ``DataSet``.

CUB, ImageNet (Kaggle, too), wsolevaluation's lists (OpenImages30k among them), COCO's JSON, and
folders of one's own with the truth of ``listed_truth``: VOC's XML, YOLO's text, Open Images' CSV.
``coco_json`` is the one reader of COCO's JSON, also for pseudo boxes and detections.
May import ``images``, ``structures``, ``errors`` and ``files``.

One more format is a module with a function that takes paths and, where it reads the headers of
images, a ``SizeReader``; a row of ``wend.datasets.declared.FORMATS`` gives it its name and its keys
in YAML files.
"""
