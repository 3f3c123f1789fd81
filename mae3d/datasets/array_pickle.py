"""Pickles of numpy arrays: loaded without running anything a file might ask for, written so that all numpys read them.

Official point-cloud caches (ModelNet40 .dat, few-shot .pkl) are pickles. ``pickle.load`` executes whatever
callable a file names; here only the few constructors that array pickles need are known, all others are refused.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import atomic_write, require_file
from mae3d.errors import DataError

try:
    from numpy._core.multiarray import _reconstruct, scalar
except ImportError:  # numpy 1
    from numpy.core.multiarray import _reconstruct, scalar

_ARRAY_MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")
_NUMERIC_MODULES = ("numpy._core.numeric", "numpy.core.numeric")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand-in for ``_codecs.encode``: how protocols 0 to 2 store bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not allowed")
    return text.encode("latin1")


def _from_buffer(buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str, axes: Any = None) -> np.ndarray:
    """Stand-in for numpy's ``_frombuffer``: how protocol 5 stores arrays."""
    array = np.frombuffer(buffer, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(np.argsort(axes))


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar"):
            return {"_reconstruct": _reconstruct, "scalar": scalar}[name]
        if module in _NUMERIC_MODULES and name == "_frombuffer":
            return lambda *args: _from_buffer(*args)
        if module == "_codecs" and name == "encode":
            return lambda *args: _encode(*args)
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which array pickles never need")


def load_array_pickle(source: Path | bytes, hint: str = "") -> Any:
    """Load a pickle that holds only numpy arrays, numbers, strings, lists, tuples and dicts.

    Args:
        source: File, or the pickled bytes themselves.
        hint: What the user can do, appended to error messages.

    Raises:
        DataError: The file is missing, damaged, or names any other type or function.
    """
    name = "pickle" if isinstance(source, bytes) else str(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else require_file(source, hint).open("rb")
    with file:
        try:
            # Python 2 wrote the oldest caches: latin1 keeps their bytes.
            return _ArrayUnpickler(file, encoding="latin1").load()
        except pickle.UnpicklingError as error:
            raise DataError(f"{name}: refused or damaged pickle: {error}. {hint}".rstrip()) from error
        except (EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError, MemoryError) as error:
            raise DataError(f"{name}: damaged pickle ({type(error).__name__}: {error}). {hint}".rstrip()) from error


class _PortablePickler(pickle._Pickler):
    """Names numpy's private modules as numpy 1 does, which numpy 2 understands as well."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core."):
            super().save_global(obj, name)
            return
        self.save(module.replace("numpy._core.", "numpy.core."))
        self.save(name or obj.__qualname__)
        self.write(pickle.STACK_GLOBAL)
        self.memoize(obj)


def save_array_pickle(content: Any, path: Path) -> None:
    """Write lists, tuples and dicts of numpy arrays so that the official loaders read them (any numpy, Python 3.4+)."""
    with atomic_write(path) as file:
        _PortablePickler(file, protocol=4).dump(content)
