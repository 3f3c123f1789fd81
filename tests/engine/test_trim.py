"""Freed host memory goes back to the system."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mae3d.engine.hooks import TrimMemoryHook
from mae3d.engine.hooks.trim import _malloc_trim, trim_memory

PIECE, COUNT = 50_000, 3000
"""Below the size that the allocator asks the system for one by one."""


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux" or _malloc_trim() is None, reason="the C library has no malloc_trim")
def test_holes_in_the_heap_are_returned_at_the_interval():
    hook, run = TrimMemoryHook(interval=10), SimpleNamespace(iter=8)
    trim_memory()
    pieces = [bytearray(b"x" * PIECE) for _ in range(COUNT)]
    last, full = pieces[-1], resident()
    del pieces  # the last one lies above the holes and keeps the heap from shrinking by itself
    hook.after_train_iter(run, 8)
    assert full - resident() < PIECE * COUNT / 4
    run.iter = 9
    hook.after_train_iter(run, 9)
    assert full - resident() > PIECE * COUNT / 2
    assert len(last) == PIECE


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    _malloc_trim.cache_clear()
    assert not trim_memory()
    monkeypatch.undo()
    _malloc_trim.cache_clear()
