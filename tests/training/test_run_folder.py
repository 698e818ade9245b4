"""What of an earlier training in a folder somebody may want, and what a start left that died."""

import json

import pytest
from fvcore.common.config import CfgNode

from wend.errors import InputError
from wend.training.run_folder import begin, earlier_results


def write_losses(folder, last):
    (folder / "config.yaml").write_text("SOLVER: {CHECKPOINT_PERIOD: 6, MAX_ITER: 30}\n")
    lines = [json.dumps({"iteration": step, "total_loss": 1.0}) for step in (0, last)]
    (folder / "metrics.json").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("last", [0, 4, 5])  # 5 is saved after it, unless the disk is full
def test_losses_up_to_the_first_checkpoint_that_is_not_there_are_leftovers(last, tmp_path):
    write_losses(tmp_path, last)
    assert earlier_results(tmp_path) == []


def test_losses_past_it_are_of_a_run_whose_checkpoints_somebody_moved(tmp_path):
    write_losses(tmp_path, 6)
    assert earlier_results(tmp_path) == ["metrics.json"]


def test_what_cannot_be_gone_on_with_is_not_said_to_be(tmp_path):
    write_losses(tmp_path, 6)
    cfg = CfgNode({"OUTPUT_DIR": str(tmp_path), "MODEL": {"WEIGHTS": ""}})
    with pytest.raises(InputError, match="no checkpoint is there to go on from, --overwrite"):
        begin(cfg, resume=True, overwrite=False)
    with pytest.raises(InputError, match="--resume goes on with it"):
        begin(cfg, resume=False, overwrite=False)
    assert (tmp_path / "metrics.json").is_file()
