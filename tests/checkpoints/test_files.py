import importlib
import os
import sys

import pytest
import torch

from mae3d.checkpoints import load_weights, save_safetensors
from mae3d.checkpoints.key_map import KeyMap, Rule
from mae3d.errors import CheckpointError


class Runs:
    """Runs a command when it is unpickled in the ordinary way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_file_is_not_run(tmp_path):
    trap = tmp_path / "ran"
    torch.save({"base_model": {"w": torch.zeros(1)}, "args": Runs(trap)}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"could run code .*system"):
        load_weights(tmp_path / "bad.pth")
    assert not trap.exists()


class Calls:
    """Calls a function when it is unpickled in the ordinary way."""

    def __init__(self, function, path):
        self.function, self.path = function, path

    def __reduce__(self):
        return self.function, (str(self.path),)


def test_foreign_settings_open_no_door(tmp_path, monkeypatch):
    """Functions of packages whose settings are skipped are neither imported nor called, others beside them refused."""
    trap, module = tmp_path / "ran", tmp_path / "fairseq"
    module.mkdir()
    (module / "__init__.py").touch()
    (module / "trap.py").write_text("import pathlib\n\n\ndef spring(path):\n    pathlib.Path(path).touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = Calls(importlib.import_module("fairseq.trap").spring, trap)
    torch.save({"cfg": settings, "model": {"w": torch.ones(1)}}, tmp_path / "settings.pt")
    torch.save({"cfg": settings, "model": {"w": torch.ones(1)}, "args": Runs(trap)}, tmp_path / "bad.pt")
    for name in ("fairseq.trap", "fairseq"):
        monkeypatch.delitem(sys.modules, name)
    assert load_weights(tmp_path / "settings.pt").keys() == {"w"}
    with pytest.raises(CheckpointError, match=r"could run code .*system"):
        load_weights(tmp_path / "bad.pt")
    assert not trap.exists()
    assert "fairseq" not in sys.modules


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"no weights at all"), "damaged"),
        (lambda path: path.write_bytes(b"hello"), "damaged"),
        (lambda path: path.write_bytes(b"\x80\x02}q\x00("), "damaged"),
        (lambda path: path.write_bytes(b"."), "damaged"),
        (lambda path: path.write_bytes(b"X\xff\xff\xff"), "damaged"),
        (lambda path: torch.save([1, 2], path), "must hold a dict, got list"),
        (lambda path: torch.save({"epoch": 3}, path), "holds no weights: top-level keys are"),
    ],
)
def test_unusable_files_are_named(tmp_path, write, message):
    write(tmp_path / "file.pth")
    with pytest.raises(CheckpointError, match=message):
        load_weights(tmp_path / "file.pth")


def test_truncated_files_are_named(tmp_path):
    for name in ("whole.pth", "whole.safetensors"):
        path = tmp_path / name
        state = {"w": torch.zeros(1000)}
        torch.save(state, path) if name.endswith("pth") else save_safetensors(state, path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(CheckpointError, match="damaged"):
            load_weights(path)


@pytest.mark.parametrize("wrapper", [None, "base_model", "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_wrappers_and_prefixes(tmp_path, wrapper, prefix):
    state = {f"{prefix}a.weight": torch.ones(2), f"{prefix}b": torch.zeros(1)}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 1}, tmp_path / "file.pth")
    assert set(load_weights(tmp_path / "file.pth")) == {"a.weight", "b"}


def test_safetensors_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.safetensors"
    save_safetensors({"w": torch.arange(4).reshape(2, 2).T}, path)
    assert torch.equal(load_weights(path)["w"], torch.tensor([[0, 2], [1, 3]]))
    with pytest.raises(RuntimeError):
        save_safetensors({"w": torch.zeros(2, device="meta")}, path)
    assert torch.equal(load_weights(path)["w"], torch.tensor([[0, 2], [1, 3]]))
    assert [p.name for p in path.parent.iterdir()] == ["file.safetensors"]


def test_longest_prefix_wins_and_whole_words_count():
    keys = KeyMap([Rule("a", "x"), Rule("a.b", "y.z", convolution=True)])
    state = {"a.c": torch.zeros(2), "a.b.weight": torch.zeros(4, 3, 1), "ab": torch.zeros(1)}
    ours, unknown = keys.to_ours(state)
    assert {name: list(value.shape) for name, value in ours.items()} == {"x.c": [2], "y.z.weight": [4, 3]}
    assert unknown == ["ab"]
    assert set(keys.to_official(ours)) == {"a.c", "a.b.weight"}
    with pytest.raises(CheckpointError, match="no official name is known for 1 tensor: q"):
        keys.to_official({"q": torch.zeros(1)})
    with pytest.raises(ValueError, match="prefixes must differ"):
        KeyMap([Rule("a", "x"), Rule("a", "y")])
