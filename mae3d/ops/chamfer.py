"""Chamfer distance: nearest neighbours between two point sets, both ways, with gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae3d.ops._checks import check_offsets, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import chamfer as reference

_OP = "chamfer_distance"


class ChamferDistance(NamedTuple):
    """Per-point results of :func:`chamfer_distance`; dense shapes, packed results are [Ta] and [Tb]."""

    a_to_b: Tensor
    """[B, N] distance of each point of ``a`` to its nearest point of ``b`` (square metres, or metres)."""
    b_to_a: Tensor
    """[B, M] distance of each point of ``b`` to its nearest point of ``a``."""
    a_to_b_index: Tensor
    """[B, N] int64: that point of ``b``, counted in its cloud (packed: over all rows); -1 where there is none."""
    b_to_a_index: Tensor
    """[B, M] int64: that point of ``a``, counted likewise."""


def _fake(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None,
    b_mask: Tensor | None,
    a_offsets: Tensor | None,
    b_offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape_a, shape_b = a.shape[:-1], b.shape[:-1]
    return (
        a.new_empty(shape_a),
        b.new_empty(shape_b),
        a.new_empty(shape_a, dtype=torch.int64),
        b.new_empty(shape_b, dtype=torch.int64),
    )


def _fake_backward(
    grad_a_to_b: Tensor, grad_b_to_a: Tensor, a: Tensor, b: Tensor, *_: Tensor | None
) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    a, b, _, _, a_offsets, b_offsets = inputs
    ctx.save_for_backward(a, b, output[2], output[3], a_offsets, b_offsets)


def _backward(ctx: Any, grad_a_to_b: Tensor, grad_b_to_a: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    grad_a, grad_b = _chamfer_distance_backward(grad_a_to_b, grad_b_to_a, *ctx.saved_tensors)
    return grad_a, grad_b, None, None, None, None


_chamfer_distance_backward = define(
    "chamfer_distance_backward(Tensor grad_a_to_b, Tensor grad_b_to_a, Tensor a, Tensor b, Tensor a_to_b_index, "
    "Tensor b_to_a_index, Tensor? a_offsets, Tensor? b_offsets) -> (Tensor, Tensor)",
    reference=reference.chamfer_distance_backward,
    fake=_fake_backward,
)
_chamfer_distance = define(
    "chamfer_distance(Tensor a, Tensor b, Tensor? a_mask, Tensor? b_mask, Tensor? a_offsets, Tensor? b_offsets) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    reference=reference.chamfer_distance,
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
)


def _check(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None,
    b_mask: Tensor | None,
    a_offsets: Tensor | None,
    b_offsets: Tensor | None,
) -> None:
    floating = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    require((a_offsets is None) == (b_offsets is None), f"{_OP}: give both 'a_offsets' and 'b_offsets' or neither")
    for name, points, mask, offsets in (("a", a, a_mask, a_offsets), ("b", b, b_mask, b_offsets)):
        check_tensor(_OP, name, points, (None, 3) if offsets is not None else (None, None, 3), floating)
        if mask is not None:
            check_tensor(_OP, f"{name}_mask", mask, tuple(points.shape[:-1]), (torch.bool,))
        if offsets is not None:
            check_offsets(_OP, f"{name}_offsets", offsets, len(points))
    sets = [len(a), len(b)] if a_offsets is None or b_offsets is None else [len(a_offsets) - 1, len(b_offsets) - 1]
    require(sets[0] == sets[1], f"{_OP}: 'a' and 'b' must hold the same number of clouds, got {sets[0]} and {sets[1]}")
    check_same_device(_OP, a=a, b=b, a_mask=a_mask, b_mask=b_mask, a_offsets=a_offsets, b_offsets=b_offsets)


def _root(squared: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0, the subgradient of least norm, instead of infinite."""
    positive = squared != 0
    return torch.where(positive, torch.where(positive, squared, 1).sqrt(), 0)


def chamfer_distance(
    a: Tensor,
    b: Tensor,
    *,
    squared: bool = True,
    a_mask: Tensor | None = None,
    b_mask: Tensor | None = None,
    a_offsets: Tensor | None = None,
    b_offsets: Tensor | None = None,
) -> ChamferDistance:
    """Distance of every point to the nearest point of the other set, for each pair of clouds.

    Nothing is reduced: mean over each side and their sum is the Chamfer distance of a pair. Differentiable in both
    clouds with the nearest neighbours held fixed (Fan et al., "A Point Set Generation Network for 3D Object
    Reconstruction from a Single Image", CVPR 2017, section 4.2). The gradient is deterministic.

    Args:
        a: [B, N, 3], or [Ta, 3] with ``a_offsets``. float32 or float64; half types are computed in float32.
        b: [B, M, 3], or [Tb, 3] with ``b_offsets``.
        squared: Squared distances. If False, distances; their gradient where two points coincide is 0, the
            subgradient of least norm (a plain square root gives an infinite one).
        a_mask: bool [B, N] or [Ta]; a False point belongs to no cloud: distance 0, index -1, never a partner.
        b_mask: bool [B, M] or [Tb], likewise.
        a_offsets: int64 [B + 1] of a packed batch: cloud i is rows ``a_offsets[i]:a_offsets[i + 1]``. Needs
            ``b_offsets``; nothing is padded.
        b_offsets: int64 [B + 1], likewise.

    Returns:
        Distances and indices for both directions. Of points at equal distance the lowest index is taken. A point that
        has no partner at a finite distance (the other cloud is empty, masked or not finite) gets +inf and index -1; a
        point with a NaN coordinate gets NaN and -1. Such points have zero gradient.

    Raises:
        OperatorInputError: a shape, dtype, device or offset is wrong.
    """
    _check(a, b, a_mask, b_mask, a_offsets, b_offsets)
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    result = ChamferDistance(*_chamfer_distance(a.to(dtype), b.to(dtype), a_mask, b_mask, a_offsets, b_offsets))
    if squared:
        return result
    return result._replace(a_to_b=_root(result.a_to_b), b_to_a=_root(result.b_to_a))
