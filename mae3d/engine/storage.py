"""Files that are there whole or not at all, and checkpoints that load without running code."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from safetensors.torch import load_file

from mae3d.errors import CheckpointError, ConfigError

POINTER = "last_checkpoint"
ATOMIC = {"backend": "AtomicLocalBackend"}


def make_folder(path: Path, option: str) -> Path:
    """Create a folder that a command line asks for by ``option``, with its parents.

    Raises:
        ConfigError: The system does not create it; the message says where and why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        there = next((parent for parent in path.absolute().parents if parent.exists()), path.anchor)
        raise ConfigError(
            f"{option}: the folder {path} cannot be created in {there}: {error.strerror}. Choose another place."
        ) from error
    return path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old content or the new one, never a part.

    The bytes go to a temporary file in the same folder, are forced to disk, and the file is renamed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@register_backend("AtomicLocalBackend")
class AtomicLocalBackend(LocalBackend):
    """mmengine's local file backend with atomic writes; checkpoints go through it."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` with `write_atomically`."""
        write_atomically(filepath, obj)


@CheckpointLoader.register_scheme(prefixes="", force=True)
def load_from_mae3d(filename: str, map_location=None) -> dict:
    """Load a local checkpoint (``.safetensors``, or a torch file of tensors and plain values).

    Used wherever mmengine reads a file: resume, ``load_from``, ``Pretrained`` initialisation.

    Raises:
        CheckpointError: The file is absent, damaged, or holds pickled objects that would run code when loaded.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; expected a .pth or .safetensors file")
    if path.suffix == ".safetensors":
        device = map_location if isinstance(map_location, (str, torch.device)) else "cpu"
        return {"state_dict": load_file(path, device=str(device))}
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds objects other than tensors and plain values, or is damaged: {str(error).splitlines()[0]} "
            "Convert files of other codebases with tools/convert_checkpoint.py"
        ) from error
    except Exception as error:  # bytes that are no pickle raise whatever the unpickler stumbles over
        raise CheckpointError(
            f"{path} is truncated or no torch file: {type(error).__name__}: {error}. Use an earlier checkpoint"
        ) from error


def point_to(checkpoint: Path) -> None:
    """Name ``checkpoint`` as the one to resume from in its folder."""
    write_atomically(checkpoint.with_name(POINTER), str(checkpoint).encode())


def find_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the newest checkpoint of a run that can really be read; None where there is none.

    The pointer file is believed first, then the other checkpoints by age, newest first, so that a damaged file or a
    work directory that was moved does not end a run.
    """
    for path in _candidates(Path(work_dir)):
        try:
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # of any kind, as above
            print_log(f"skipped unreadable checkpoint {path}: {type(error).__name__}: {error}", logger="current")
            continue
        return path
    return None


def _candidates(work_dir: Path) -> Iterator[Path]:
    pointer = work_dir / POINTER
    named = None
    if pointer.is_file():
        named = work_dir / Path(pointer.read_text().strip()).name
        if named.is_file():
            yield named
    files = [*work_dir.glob("epoch_*.pth"), *work_dir.glob("iter_*.pth")]
    for path in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        if path != named:
            yield path
