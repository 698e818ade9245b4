"""The study of noise: toy sets with more and more wrong pseudo boxes, method against method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plan import CONFIGS, Row

from wend.datasets.toy import FAULTS, ToyConfig, write_toy

SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)  # images whose pseudo box is disturbed
WE = {"WEND.LOSS": "weighted_entropy", "WEND.GAMMA": "6.0", "WEND.ALPHA": "0.1"}
WE |= {"WEND.TAU1": "0.3", "WEND.TAU2": "0.3"}
FCOS = CONFIGS / "CUB" / "fcos_R50.yaml"
# label, config, overrides: η alone, then with each entropy at the same η
METHODS: dict[str, tuple[Path, dict[str, str]]] = {
    "SCR": (CONFIGS / "CUB" / "scr_R50.yaml", {}),
    "BCD": (FCOS, {"WEND.ETA": "1.0"}),
    "BCD, η 0.125": (FCOS, {"WEND.ETA": "0.125"}),
    "BCD + entropy, η 0.125": (FCOS, {"WEND.LOSS": "entropy", "WEND.ETA": "0.125"}),
    "BCD + WE, η 0.125": (FCOS, {**WE, "WEND.ETA": "0.125"}),
}


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


def rows(share: float, toy: Mapping[str, Any], datasets_root: Path) -> list[Row]:
    """One row a method at one share of noise."""
    found = []
    for index, (label, (config_file, overrides)) in enumerate(METHODS.items()):
        detector = "SCR" if index == 0 else "BinaryFCOS"
        changes = {**toy["common"], **toy["detectors"].get(detector, {}), **overrides}
        slug = "".join(c if c.isalnum() or c == "." else "_" for c in label.replace("η", "eta"))
        found.append(
            Row(
                label=label,
                backbone="small CNN",
                data="toy",
                config_file=config_file,
                overrides={key: str(value) for key, value in changes.items()},
                datasets_root=str(datasets_root),
                name=f"noise/{round(100 * share):02d}/{slug}",
            )
        )
    return found
