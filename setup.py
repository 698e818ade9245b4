"""Package metadata; tool settings are in pyproject.toml. Imports nothing of the project's."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "wend/__init__.py").read_text())[1]

CLASSIFIER = ["efficientnet_pytorch==0.7.1", "timm>=1.0"]  # wend classify: B7 as the paper, others

setup(
    name="wend",
    version=VERSION,
    description="Object boxes without box labels: weighted entropy guided binary-class detectors",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["wend", "wend.*"]),
    package_data={"wend": ["py.typed"]},
    install_requires=[
        "fvcore>=0.1.5.post20221221",  # configs, checkpoints, as Detectron2
        "matplotlib",  # curves
        "msgspec>=0.19",  # JSON of boxes, decoded into checked types
        "numpy>=1.24",
        "opencv-python-headless",  # toy set, maps of objects; cv2 of opencv-python, needs no libGL
        "pillow>=10.1",  # image files, resized as torchvision does; drawing, words in any size
        "pyarrow",  # per_image.parquet, detections as Parquet, large JSON as arrays
        "pycocotools",  # AP and AR as everybody computes them
        "pyyaml",
        "safetensors>=0.4",  # weight files that hold numbers alone
        "scipy>=1.7",  # matching of Deformable DETR's queries with boxes, McNemar's test
        "tabulate",  # tables, as Detectron2
        "torch>=2.1",
        "torchvision>=0.16",  # detectors of the engine for machines without Detectron2
        "tqdm",  # progress
    ],
    extras_require={
        "classifier": CLASSIFIER,
        "dev": [
            *CLASSIFIER,
            *("pre-commit", "pytest", "pytest-xdist>=3.6", "hypothesis", "ruff==0.17.6"),
            *("import-linter>=2.15", "mypy==2.4.1"),  # make lint: who imports whom, types
            *("types-PyYAML", "types-tabulate", "types-tqdm"),
            "faster-coco-eval>=1.6",  # compared with pycocotools; wend evaluate --ap-backend
            "transformers>=4.40,<5",  # Deformable DETR is compared with its own
        ],
    },
    entry_points={"console_scripts": ["wend = wend.cli.parser:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
    ],
)
