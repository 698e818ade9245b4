"""The size of checkpoints is known before there are any."""

from types import SimpleNamespace

import pytest
import torch
from fvcore.common.config import CfgNode
from torch import nn

from wend.training import space
from wend.training.space import checkpoint_bytes, warn_of_space


def model_and_optimizer(name):
    model = nn.Sequential(nn.Conv2d(8, 64, 3), nn.BatchNorm2d(64), nn.Linear(64, 500))
    model[0].weight.requires_grad_(False)
    arguments = {"momentum": 0.9} if name == "SGD" else {}
    parameters = [p for p in model.parameters() if p.requires_grad]
    return model, getattr(torch.optim, name)(parameters, lr=0.1, **arguments)


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_the_size_is_that_of_a_checkpoint_after_a_step(name, tmp_path):
    model, optimizer = model_and_optimizer(name)
    before = checkpoint_bytes(model, optimizer, averaged=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save(
        {**content, "other": {n: v.clone() for n, v in model.state_dict().items()}},
        tmp_path / "c.pth",
    )
    assert before == pytest.approx((tmp_path / "c.pth").stat().st_size, rel=0.05)


@pytest.mark.parametrize(("free", "is_said"), [(4.5, True), (5.5, False)])
def test_a_disk_without_room_is_said_and_what_lies_there_is_replaced(
    free, is_said, tmp_path, monkeypatch, caplog
):
    model, optimizer = model_and_optimizer("SGD")
    size = checkpoint_bytes(model, optimizer, averaged=False)
    (tmp_path / "model_final.pth").write_bytes(bytes(size))
    usage = SimpleNamespace(free=int((free - 1) * size))
    monkeypatch.setattr(space.shutil, "disk_usage", lambda folder: usage)
    cfg = CfgNode({"OUTPUT_DIR": str(tmp_path), "WEND": {"KEEP_BEST": "gt_known_loc"}})
    warn_of_space(cfg, model, optimizer, averaged=False)
    assert ("checkpoints take about" in caplog.text) == is_said
    cfg.OUTPUT_DIR = str(tmp_path / "not" / "there")
    warn_of_space(cfg, model, optimizer, averaged=False)
