"""The seed of a training that leaves it open (SEED -1): one for all processes, and for a resume.

The images that are held out follow from the seed, too: they are drawn before processes meet, so
that another seed cannot be taken on afterwards.
"""

from __future__ import annotations

from functools import partial

from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.processes import agreed
from wend.randomness import shared_seed
from wend.run import set_seed
from wend.training.checkpoints import newest_whole
from wend.training.facts import TRAINING_KEY


def share_seed(cfg: CfgNode) -> None:
    """Give all processes the first one's seed; all call it, each has drawn one where it is open.

    Raises:
        InputError: see :func:`take_seed`; on all processes.
    """
    seed = shared_seed(cfg.SEED)
    agreed(partial(take_seed, cfg, seed))


def take_seed(cfg: CfgNode, seed: int) -> None:
    """Set ``SEED`` of a frozen config to the training's own.

    Args:
        cfg: the run's, with the seed that drew the images that are held out.
        seed: that of the first process, or of the checkpoint to go on from.

    Raises:
        InputError: another seed has drawn the images that are held out.
    """
    if cfg.WEND.HELD_OUT and cfg.SEED != seed:
        raise InputError(
            f"config entries WEND.HELD_OUT and SEED: the images that are held out follow from the "
            f"seed, which is {seed} here, and SEED -1 drew another one; give SEED {seed}"
        )
    set_seed(cfg, seed)


def take_stored_seed(cfg: CfgNode) -> None:
    """Give a config that leaves the seed open that of the training that goes on in OUTPUT_DIR."""
    choice = newest_whole(cfg.OUTPUT_DIR) if cfg.SEED < 0 else None
    if choice is not None:
        seed = choice.content.get(TRAINING_KEY, {}).get("seed")
        if isinstance(seed, int) and seed >= 0:
            cfg.SEED = seed
