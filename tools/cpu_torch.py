"""Install PyTorch's wheels without CUDA, where there is no GPU and no torch yet.

The registry's wheels for Linux bring CUDA's libraries and Triton, 4.1 GB that only a GPU uses. The
wheels without them, called ``+cpu``, are in an index of PyTorch's own; where that has none or
cannot be reached, nothing is done, and the registry's come.

usage: python tools/cpu_torch.py CONSTRAINTS [INDEX]
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("torch", "torchvision")


def main(constraints: str, index: str = "") -> None:
    """Install the versions that the constraints name, without what they depend on."""
    if not index or importlib.util.find_spec("torch") or shutil.which("nvidia-smi"):
        return
    lines = Path(constraints).read_text(encoding="utf-8").splitlines()
    wanted = [f"{line}+cpu" for line in lines if line.split("==")[0] in PACKAGES]
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--retries", "0"]
    command = [sys.executable, "-m", "pip", "install", *options, "--timeout", "15"]
    done = subprocess.run([*command, "--index-url", index, *wanted], capture_output=True, text=True)
    found = done.returncode == 0
    how = f"without CUDA, from {index}" if found else f"from the registry: none for CPUs at {index}"
    sys.stdout.write(f"torch {how}\n")


main(*sys.argv[1:])
