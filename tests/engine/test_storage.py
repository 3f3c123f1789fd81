"""Files are whole or not there, whatever happens while they are written."""

import errno
import os
import signal

import pytest
import torch

from mae3d.engine.storage import find_checkpoint, load_from_mae3d, point_to, write_atomically
from mae3d.errors import CheckpointError


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "epoch_1.pth"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "epoch_1.pth"
    write_atomically(path, b"old")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.fsync = lambda descriptor: (os.write(writing, b"."), signal.pause())  # everything is written, nothing moved
        write_atomically(path, b"new" * 1000)
        os._exit(0)
    os.read(reading, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.read_bytes() == b"old"
    write_atomically(path, b"newest")
    assert path.read_bytes() == b"newest"


def test_the_newest_whole_checkpoint_is_found_in_a_folder_that_was_moved(tmp_path):
    assert find_checkpoint(tmp_path) is None
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    for step in (1, 2):
        torch.save({"state_dict": {"w": torch.full((2,), float(step))}}, old / f"epoch_{step}.pth")
    point_to(old / "epoch_2.pth")
    old.rename(new)
    assert find_checkpoint(new) == new / "epoch_2.pth"
    (new / "epoch_2.pth").write_bytes(b"half a file")
    found = find_checkpoint(new)
    assert found == new / "epoch_1.pth"
    assert load_from_mae3d(str(found), "cpu")["state_dict"]["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("content", [b"", b"hello", b"half a file", b"X\xff\xff\xff", b"\x80\x02}q\x00("])
def test_whatever_stands_in_a_checkpoint_is_passed_over_or_named(tmp_path, content):
    path = tmp_path / "epoch_1.pth"
    path.write_bytes(content)
    assert find_checkpoint(tmp_path) is None
    with pytest.raises(CheckpointError, match=r"epoch_1\.pth"):
        load_from_mae3d(str(path), "cpu")
