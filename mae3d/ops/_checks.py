"""Argument checks shared by every operator: each names the operator, the argument, what came and what to do."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError


def require(condition: bool, message: str) -> None:
    """Raise OperatorInputError(message) unless ``condition`` holds."""
    if not condition:
        raise OperatorInputError(message)


def check_tensor(
    op: str, name: str, value: Tensor, shape: tuple[int | None, ...], dtypes: tuple[torch.dtype, ...] = ()
) -> None:
    """Check that ``value`` is a tensor with ``len(shape)`` axes; an int in ``shape`` fixes that axis."""
    if not isinstance(value, Tensor):
        raise OperatorInputError(f"{op}: '{name}' must be a Tensor, got {type(value).__name__}")
    if value.dim() != len(shape) or any(want is not None and want != got for want, got in zip(shape, value.shape)):
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise OperatorInputError(f"{op}: '{name}' must have shape [{wanted}], got {list(value.shape)}")
    if dtypes and value.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise OperatorInputError(
            f"{op}: '{name}' must have dtype {names}, got {str(value.dtype).removeprefix('torch.')}"
        )


def check_same_device(op: str, **tensors: Tensor | None) -> None:
    """Check that all given tensors are on one device."""
    present = {name: t.device for name, t in tensors.items() if t is not None}
    if len(set(present.values())) > 1:
        listing = ", ".join(f"{name} on {device}" for name, device in present.items())
        raise OperatorInputError(f"{op}: all tensors must be on one device, got {listing}")


def check_offsets(op: str, name: str, offsets: Tensor, total: int) -> None:
    """Check the offsets [B + 1] of a packed batch: int64, first 0, never falling, last ``total``.

    Values are looked at only in eager mode on the CPU; device kernels clamp them instead of synchronising.
    """
    check_tensor(op, name, offsets, (None,), (torch.int64,))
    if offsets.shape[0] < 1:
        raise OperatorInputError(f"{op}: '{name}' must hold B + 1 values, got none")
    if torch.compiler.is_compiling() or offsets.device.type != "cpu":
        return
    if isinstance(offsets, torch._subclasses.FakeTensor):
        return
    values = offsets.tolist()
    if values[0] != 0:
        raise OperatorInputError(f"{op}: '{name}' must start with 0, got {values[0]}")
    for index, (a, b) in enumerate(itertools.pairwise(values), start=1):
        if b < a:
            raise OperatorInputError(f"{op}: '{name}' must never fall, but entry {index} is {b} after {a}")
    if values[-1] != total:
        raise OperatorInputError(f"{op}: '{name}' must end with the number of rows {total}, got {values[-1]}")


def check_range(op: str, name: str, value: int | float, low: float, high: float | None = None) -> None:
    """Check ``low <= value`` (``<= high`` where given)."""
    if value < low or (high is not None and value > high):
        wanted = f">= {low}" if high is None else f"in [{low}, {high}]"
        raise OperatorInputError(f"{op}: '{name}' must be {wanted}, got {value}")
