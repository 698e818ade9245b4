#!/usr/bin/env python
"""Train or evaluate a WEND detector: ``train_net.py --config-file configs/CUB/fcos_R50_we.yaml``.

Takes the arguments of Detectron2's own ``train_net.py``. Without Detectron2 it runs the same YAML
on torchvision's detectors.
"""

import sys

from wend.__main__ import begin_process
from wend.cli.train import main

if __name__ == "__main__":
    begin_process()
    sys.exit(main())
