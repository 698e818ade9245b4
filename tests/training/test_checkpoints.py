"""Checkpoints of a run's folder: saved whole, the newest whole one is taken, few stay."""

import logging
import os
import shutil
import zipfile

import pytest
import torch
from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer
from safetensors.torch import load_file
from torch import nn

from wend.errors import InputError
from wend.files import atomic_write, leftovers
from wend.run_files import checkpoint_files, noted_checkpoint
from wend.training.checkpoints import (
    ClearsByListing,
    RunCheckpointer,
    clear_leftovers,
    newest_whole,
)
from wend.weight_files import Origin, read_origin, read_weights


class FileCheckpointer(RunCheckpointer, Checkpointer):
    """As the engines mix it."""


class Saving(ClearsByListing, PeriodicCheckpointer):
    """As the engines mix it."""


class Detector(nn.Module):
    """Two layers, the names of one of which are a backbone's; both of a seed's weights."""

    def __init__(self, seed=0, width=4):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = nn.Sequential(nn.Linear(3, width))
        self.head = nn.Linear(width, 1)


def checkpointer(folder, seed=0, **parts):
    return FileCheckpointer(Detector(seed), save_dir=str(folder), **parts)


def saved(folder, *iterations):
    """Checkpoints of iterations, the weights of each of its own seed."""
    for iteration in iterations:
        name = f"model_{iteration:07d}"
        checkpointer(folder, seed=iteration).save(name, iteration=iteration)
    return [folder / f"model_{iteration:07d}.pth" for iteration in iterations]


def same(model, seed):
    expected = Detector(seed).state_dict()
    return all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def flip_a_bit_of_the_weights(path):
    with zipfile.ZipFile(path) as archive:
        record = next(info for info in archive.infolist() if "/data/" in info.filename)
        with archive.open(record) as file:
            number = file.read(8)
    data = bytearray(path.read_bytes())
    data[data.index(number)] ^= 1
    path.write_bytes(data)


def store_code(path):
    path.write_bytes(b"cos\nsystem\n(S'touch trace'\ntR.")


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


DAMAGE = {
    "bit": flip_a_bit_of_the_weights,
    "truncated": truncate,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("404 not found"),
    "code": store_code,
    "weights alone": lambda path: torch.save(Detector().state_dict(), path),
    "another object": lambda path: torch.save([1, 2], path),
    "no iteration": lambda path: torch.save({"model": {}, "iteration": "5"}, path),
}


# ---- saving ----


def test_saved_checkpoint_is_resumed(tmp_path):
    saved(tmp_path, 1)
    resuming = checkpointer(tmp_path, seed=99)
    assert resuming.resume_or_load("", resume=True)["iteration"] == 1
    assert same(resuming.model, 1)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


@pytest.mark.parametrize("name", ["model_0000001", "model_0000002"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_save_leaves_no_file_and_the_last_good_one_stays_the_last(
    tmp_path, monkeypatch, error, name
):
    (path,) = saved(tmp_path, 1)
    good = path.read_bytes()

    def write_half(_, file):
        file.write(b"half")
        raise error

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(type(error)):
        checkpointer(tmp_path).save(name)
    assert {path.name for path in tmp_path.iterdir()} == {"model_0000001.pth", "last_checkpoint"}
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert path.read_bytes() == good


def test_a_checkpoint_is_on_the_disk_before_its_name_and_its_name_before_the_note(
    tmp_path, monkeypatch
):
    """What a machine that loses its power has on its disk: fsync(2), rename(2)."""
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(handle):
        path = os.readlink(f"/proc/self/fd/{handle}")
        done.append("folder" if path == str(tmp_path) else "file")
        fsync(handle)

    def renamed(source, target):
        done.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    saved(tmp_path, 1)
    one_file = ["file", "model_0000001.pth", "folder"]
    assert done == [*one_file, "file", "last_checkpoint", "folder"]


def test_a_checkpoint_loads_with_plain_torch_and_plain_fvcore(tmp_path):
    (path,) = saved(tmp_path, 1)
    assert torch.load(path, weights_only=True)["iteration"] == 1
    theirs = Checkpointer(Detector(99), save_dir=str(tmp_path))
    assert theirs.resume_or_load("", resume=True)["iteration"] == 1
    assert same(theirs.model, 1)


def test_the_final_weights_lie_beside_as_safetensors_with_their_origin(tmp_path):
    saving = checkpointer(tmp_path, seed=3)
    saving.model.tied = saving.model.head  # two names of the same numbers
    saving.model.register_buffer("part", torch.arange(6.0).view(2, 3).t()[1:])  # of a larger one
    saving.origin = Origin("VERSION: 2\n", "torchvision", "apply")
    saving.save("model_0000004", iteration=4)
    saving.save("model_final", iteration=4)
    tensors = tmp_path / "model_final.safetensors"
    assert not (tmp_path / "model_0000004.safetensors").exists()
    assert read_origin(tensors) == saving.origin
    expected = saving.model.state_dict()
    for weights in (load_file(tensors), read_weights(tensors)):
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[name], value) for name, value in expected.items())


# ---- which one a run goes on from ----


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_not_whole_is_passed_over_for_the_one_before_saying_why(
    tmp_path, monkeypatch, caplog, kind
):
    monkeypatch.chdir(tmp_path)
    _, newest = saved(tmp_path, 2, 5)
    DAMAGE[kind](newest)
    resuming = checkpointer(tmp_path, seed=99)
    assert resuming.resume_or_load("", resume=True)["iteration"] == 2
    assert same(resuming.model, 2)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert warnings[0].startswith("passed over ")
    assert "model_0000005.pth: " in warnings[0]
    assert "model_0000002.pth is the newest whole checkpoint" in warnings[1]
    assert not (tmp_path / "trace").exists()


def test_a_single_flipped_bit_is_seen_which_torch_does_not_see(tmp_path):
    (path,) = saved(tmp_path, 5)
    flip_a_bit_of_the_weights(path)
    loaded = torch.load(path, weights_only=True)["model"]
    assert any(not torch.equal(value, loaded[n]) for n, value in Detector(5).state_dict().items())
    with pytest.raises(InputError, match=r"model_0000005\.pth: the bytes of its record .*data/0"):
        newest_whole(tmp_path)


def test_a_damaged_file_of_ours_is_refused_by_its_name_too(tmp_path):
    saving = checkpointer(tmp_path)
    saving.origin = Origin("VERSION: 2\n", "torchvision", "apply")
    path = saving.write("model_final")
    flip_a_bit_of_the_weights(path)
    with pytest.raises(InputError, match=r"model_final\.pth: is damaged: .*record .*data/0"):
        checkpointer(tmp_path).load(str(path))


def test_checksums_are_written_whatever_the_user_has_set(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        saved(tmp_path, 1)
        assert not torch.serialization.get_crc32_options()
    finally:
        torch.serialization.set_crc32_options(True)
    assert newest_whole(tmp_path).path.name == "model_0000001.pth"


def test_where_none_is_whole_the_error_names_each_and_what_to_do(tmp_path):
    for path, damage in zip(saved(tmp_path, 2, 5), (truncate, store_code), strict=True):
        damage(path)
    with pytest.raises(
        InputError,
        match=r"none of its 2 checkpoints is whole: .*5\.pth: cannot be "
        r"read .*2\.pth: cannot be read .* Copy a whole one to it, or begin anew",
    ):
        checkpointer(tmp_path).resume_or_load("", resume=True)


@pytest.mark.parametrize("note", ["", "\0", "model_0000002.pth", "../b/model_0000009.pth", "gone"])
def test_the_note_of_a_killed_run_or_of_another_program_misleads_nobody(tmp_path, note):
    folder, other = tmp_path / "a", tmp_path / "b"
    for path in (folder, other):
        path.mkdir()
    saved(folder, 2, 5)
    saved(other, 9)
    (folder / "last_checkpoint").write_text(note)
    assert newest_whole(folder).path.name == "model_0000005.pth"
    (folder / "last_checkpoint").write_bytes(b"\xff\xfe")
    assert newest_whole(folder).path.name == "model_0000005.pth"


def test_the_order_is_that_of_the_iterations_not_of_the_names(tmp_path):
    """A finished training that went on with more iterations, and was killed."""
    saved(tmp_path, 4)
    checkpointer(tmp_path).save("model_final", iteration=5)
    assert newest_whole(tmp_path).path.name == "model_final.pth"
    saved(tmp_path, 8)
    checkpointer(tmp_path).write("model_best", iteration=6)
    assert newest_whole(tmp_path).path.name == "model_0000008.pth"
    (tmp_path / "model_0000008.pth").unlink()
    assert newest_whole(tmp_path).path.name == "model_best.pth"


def test_an_older_checkpoints_damage_is_nobodys_business(tmp_path, caplog):
    old, _ = saved(tmp_path, 2, 5)
    truncate(old)
    assert checkpointer(tmp_path).resume_or_load("", resume=True)["iteration"] == 5
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_checkpoint_of_the_users_own_name_is_taken_where_it_is_noted(tmp_path):
    saved(tmp_path, 2)
    checkpointer(tmp_path, seed=7).save("mine", iteration=7)
    assert newest_whole(tmp_path).path.name == "mine.pth"
    (tmp_path / "last_checkpoint").write_text("model_0000002.pth")
    assert newest_whole(tmp_path).path.name == "model_0000002.pth"


def test_files_of_the_old_format_have_no_checksums_and_are_taken(tmp_path):
    content = {"model": Detector(3).state_dict(), "iteration": 3}
    torch.save(content, tmp_path / "model_0000003.pth", _use_new_zipfile_serialization=False)
    assert newest_whole(tmp_path).path.name == "model_0000003.pth"
    truncate(tmp_path / "model_0000003.pth")
    with pytest.raises(InputError, match="none of its 1 checkpoints"):
        newest_whole(tmp_path)


def test_resuming_where_nothing_was_saved_starts_from_the_given_weights_and_says_so(
    tmp_path, caplog
):
    torch.save(Detector(1).state_dict(), tmp_path / "r50.pth")
    resuming = checkpointer(tmp_path / "new", seed=99)
    resuming.resume_or_load(str(tmp_path / "r50.pth"), resume=True)
    assert same(resuming.model, 1)
    assert "new: there is no checkpoint to resume from; starting anew from" in caplog.text


def test_resumed_checkpoint_must_be_this_very_detector_but_initial_weights_need_not(tmp_path):
    """The same file without its head: refused when it is resumed, enough to start from."""
    path = tmp_path / "model_0000001.pth"
    weights = Detector(1).backbone.state_dict(prefix="backbone.")
    torch.save({"model": weights, "iteration": 1}, path)
    with pytest.raises(InputError, match=r"model_0000001\.pth: not a checkpoint of this detector"):
        checkpointer(tmp_path).resume_or_load("", resume=True)
    starting = checkpointer(tmp_path, seed=99)
    starting.resume_or_load(str(path), resume=False)
    assert torch.equal(starting.model.backbone[0].weight, weights["backbone.0.weight"])


# ---- which stay ----


def test_only_the_newest_stay_whichever_start_of_the_training_saved_them(tmp_path):
    own = ["model_0000001_mine.pth", "model_1.pth", "my_model_0000001.pth", "model_0000001.pth.bak"]
    for name in own:
        (tmp_path / name).write_text("a user's")
    for start in range(0, 12, 4):  # killed twice
        saving = Saving(checkpointer(tmp_path), period=1, max_iter=12)
        for iteration in range(start, start + 4):
            saving.step(iteration)
        checkpointer(tmp_path).write("model_best", iteration=0)
    expected = {"model_0000010.pth", "model_0000011.pth", "model_final.pth", "model_best.pth"}
    expected |= {"model_final.safetensors", "model_best.safetensors", "last_checkpoint"}
    assert {path.name for path in tmp_path.iterdir()} == expected | set(own)


def test_a_later_checkpoint_that_was_passed_over_counts_for_nothing(tmp_path):
    """Two whole ones stay, so that the next damage has one to fall back on."""
    *_, later = saved(tmp_path, 2, 3, 9)
    truncate(later)
    Saving(checkpointer(tmp_path), period=1, max_iter=12).step(4)
    names = [path.name for path in checkpoint_files(tmp_path)]
    assert names == ["model_0000003.pth", "model_0000004.pth", "model_0000009.pth"]


def test_another_process_than_the_main_one_clears_nothing(tmp_path):
    saved(tmp_path, 1, 2, 3)
    quiet = checkpointer(tmp_path)
    quiet.save_to_disk = False
    Saving(quiet, period=1, max_iter=9).step(4)
    assert len(checkpoint_files(tmp_path)) == 3


def test_unfinished_files_of_killed_runs_are_removed_and_no_others(tmp_path, caplog):
    """As a process leaves them that is killed while it writes."""
    results = tmp_path / "inference" / "toy_test"
    results.mkdir(parents=True)
    unfinished = []
    for path in (tmp_path / "model_0000005.pth", tmp_path / "last_checkpoint", results / "a.json"):
        writing = atomic_write(path)
        writing.__enter__()
        (left,) = leftovers(path.parent, [path.name])
        unfinished.append(left)
        kept = shutil.copy(left, tmp_path / "kept")
        writing.gen.close()
        shutil.move(kept, left)  # closing removes it, killing does not
    own = [".model.pth.bak", ".notes.txt.abcdefgh", ".model_0000005.pth.short", "model_5.pth"]
    for name in own:
        (tmp_path / name).write_text("a user's")
    with caplog.at_level(logging.INFO, logger="wend"):
        clear_leftovers(tmp_path)
    assert not any(path.exists() for path in unfinished)
    assert {path.name for path in tmp_path.iterdir()} == {*own, "inference"}
    assert "3 unfinished files of runs that were killed are removed" in caplog.text


def test_the_note_is_of_the_folder(tmp_path):
    saved(tmp_path, 2)
    assert noted_checkpoint(tmp_path) == tmp_path / "model_0000002.pth"
    (tmp_path / "last_checkpoint").write_text("x" * 300)
    assert noted_checkpoint(tmp_path) is None
