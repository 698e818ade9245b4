"""Toy sets with more and more wrong pseudo boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wend.datasets.toy import FAULTS, ToyConfig, write_toy


def noisy_config(share: float, train_images: int, test_images: int) -> ToyConfig:
    """The toy set with this share of disturbed boxes, its kinds in the default's proportions."""
    default = ToyConfig()
    whole = sum(getattr(default, fault) for fault in FAULTS)
    faults = {fault: share * getattr(default, fault) / whole for fault in FAULTS}
    return ToyConfig(num_train=train_images, num_test=test_images, **faults)


def make_data(
    root: Path, share: float, toy: Mapping[str, Any]
) -> tuple[Path, dict[str, dict[str, float]]]:
    """Generate a set once; its datasets root, and what it holds."""
    folder = root / f"noise{round(100 * share):02d}"
    config = noisy_config(share, toy["train_images"], toy["test_images"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder, write_toy(folder / "toy", config)
