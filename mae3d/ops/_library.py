"""Loads the compiled kernels and registers operators under ``torch.ops.mae3d``.

An operator module calls :func:`define` once: schema, pure-torch reference and fake kernel. The compiled
libraries add CPU and CUDA kernels to the same names; where one is missing, the reference runs instead and
says so once.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

_DIRECTORY = Path(os.environ.get("MAE3D_NATIVE_DIR", Path(__file__).parent / "_native"))
_LIBRARY = torch.library.Library("mae3d", "FRAGMENT")
_MIN_TORCH = (2, 10)

OPERATORS: dict[str, Callable[..., Any]] = {}
"""Name -> pure-torch reference of every operator defined so far."""


def _load(name: str) -> str | None:
    """Load one compiled library; returns why it is not in use, or None when it is."""
    path = _DIRECTORY / f"libmae3d_{name}.so"
    if name == "cuda" and torch.version.cuda is None:
        return "this torch is a CPU build"
    if not path.exists():
        return f"{path.name} was not built; build it with: pip install --no-build-isolation ."
    if tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2]) < _MIN_TORCH:
        return f"{path.name} needs torch >= 2.10, this is {torch.__version__}"
    try:
        torch.ops.load_library(path)
    except OSError as error:
        return f"{path.name} did not load: {error.__cause__ or error}"
    return None


UNAVAILABLE: dict[str, str | None] = {name: _load(name) for name in ("cpu", "cuda")}
"""Library name -> reason why its kernels are not in use, None where they are."""

_warned: set[str] = set()


def _warn_fallback(device: str) -> None:
    if device in _warned:
        return
    _warned.add(device)
    reason = UNAVAILABLE.get(device) or f"there are no compiled kernels for '{device}' tensors"
    warnings.warn(
        f"mae3d operators use their slow pure-torch form on '{device}': {reason}",
        RuntimeWarning,
        stacklevel=4,
    )


def _first_device(args: tuple[Any, ...]) -> str:
    return next((a.device.type for a in args if isinstance(a, torch.Tensor)), "cpu")


def define(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Register ``mae3d::<schema>`` and return the callable operator.

    Args:
        schema: Torch schema without namespace, e.g. ``"knn(Tensor points, int k) -> Tensor"``.
        reference: Pure-torch implementation with the same signature: test oracle and fallback.
        fake: Shape propagation for tracing, same signature.
        setup_context: ``(ctx, inputs, output)``; saves what ``backward`` needs.
        backward: ``(ctx, *grad_outputs)`` -> one gradient (or None) per input.
    """
    name = schema.split("(", 1)[0].strip()
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))

    def fallback(*args: Any, **kwargs: Any) -> Any:
        _warn_fallback(_first_device(args))
        return reference(*args, **kwargs)

    _LIBRARY.impl(name, fallback, "CompositeExplicitAutograd")
    torch.library.register_fake(f"mae3d::{name}", fake, lib=_LIBRARY)
    if backward is not None:
        torch.library.register_autograd(f"mae3d::{name}", backward, setup_context=setup_context, lib=_LIBRARY)
    OPERATORS[name] = reference
    return getattr(torch.ops.mae3d, name).default


def has_kernel(name: str, device: str) -> bool:
    """Whether operator ``name`` runs compiled code on ``device`` ("cpu" or "cuda")."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"mae3d::{name}", device.upper())
