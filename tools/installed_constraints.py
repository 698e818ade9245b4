"""Print a constraints file with torch and torchvision pinned to what is installed already.

pip would otherwise fetch gigabytes to replace an installed torch, and Detectron2 works only with
the torch that it was built with.
"""

import importlib.metadata
import sys
from pathlib import Path

KEPT = ("torch", "torchvision")

installed = {}
for package in KEPT:
    try:
        installed[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        continue

for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
    package = line.split("==")[0]
    # with an installed torch, torchvision is whatever release fits it
    if package not in KEPT or not installed:
        sys.stdout.write(line + "\n")
for package, version in installed.items():
    sys.stdout.write(f"{package}=={version}\n")
