"""Reading and writing of weight files, never running code that a file carries."""

from __future__ import annotations

import argparse
import os
import pickle
from _codecs import encode as _encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mae3d.errors import CheckpointError

FOREIGN = ("omegaconf.", "fairseq.", "examples.", "typing.")
"""Packages whose objects (settings) fairseq stores beside the weights; they are read as :class:`Unread`."""

PLAIN = ("any", "bool", "dict", "float", "int", "list", "object", "set", "str", "tuple", "type")
"""Built-in types that such objects name."""

WRAPPERS = ("base_model", "model_state_dict", "model_state", "state_dict", "model", "module")
"""Keys under which training programs store the weights, in the order they are looked for."""


def _harmless_globals() -> list[Any]:
    """Types beside tensors that official files hold (metrics, arguments); building them runs no foreign code."""
    scalar = np.float64(0).__reduce__()[0]
    numeric = [type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")]
    return [
        argparse.Namespace,
        _encode,  # bytes of a numpy scalar in old pickles
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *numeric,
    ]


class Unread:
    """Stands in a file's content for an object of a package that is not needed: keeps nothing, runs nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass


def _foreign_globals(path: Path) -> list[tuple[type, str]]:
    """What a file names of :data:`FOREIGN` packages, to be read as :class:`Unread`; the file is only looked at."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no file of torch's current format: reading it says what is wrong
        return []
    if not any(name.startswith(FOREIGN) for name in named):
        return []
    plain = ("collections.defaultdict", *(f"builtins.{name}" for name in PLAIN))
    return [(Unread, name) for name in named if name.startswith(FOREIGN) or name in plain]


def read_file(path: str | Path) -> dict[str, Any]:
    """Content of a ``.safetensors`` file or of a file written by ``torch.save``, on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or holds objects other than weights and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([*_harmless_globals(), *_foreign_globals(path)]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged, or holds objects that could run code and is therefore not read. "
            f"torch says: {_reason(error)} If you trust the file, load it once with "
            "torch.load(..., weights_only=False) and save only its weights."
        ) from error
    except Exception as error:  # bytes that are no pickle raise whatever the unpickler stumbles over
        raise CheckpointError(
            f"checkpoint {path} is damaged or no weight file: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"checkpoint {path} must hold a dict, got {type(content).__name__}")
    return content


def _reason(error: pickle.UnpicklingError) -> str:
    """The line of torch's long message that names the refused object."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), lines[0])


def find_weights(content: dict[str, Any], path: str | Path = "") -> dict[str, Tensor]:
    """The state dict inside a file's content, without wrapper and without a leading ``module.``.

    A dict among the weights (fairseq's ``_ema``) gives names with its own and a dot before them.
    """
    wrapper = next((name for name in WRAPPERS if isinstance(content.get(name), dict)), None)
    state = content if wrapper is None else content[wrapper]
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if wrapper is not None:
        for part, inner in state.items():
            if isinstance(inner, dict):
                tensors |= {f"{part}.{name}": value for name, value in inner.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(
            f"checkpoint {path} holds no weights: top-level keys are {sorted(map(str, content))[:8]}, "
            f"none of {', '.join(WRAPPERS)} is a state dict"
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict of a weight file, see :func:`read_file` and :func:`find_weights`."""
    return find_weights(read_file(path), path)


def save_safetensors(state: dict[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None) -> None:
    """Write a state dict as safetensors; the file appears whole or not at all."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    notes = {"format": "pt", **(metadata or {})}
    _write_whole(Path(path), lambda partial: save_file(tensors, partial, notes))


def save_torch(content: dict[str, Any], path: str | Path) -> None:
    """Write with ``torch.save``; the file appears whole or not at all."""
    _write_whole(Path(path), lambda partial: torch.save(content, partial))


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
