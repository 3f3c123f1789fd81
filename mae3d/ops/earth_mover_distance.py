"""Earth mover's distance between point sets: the approximate match of the generation metrics, and the exact one."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mae3d.ops._checks import check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import earth_mover_distance as reference

_OP = "earth_mover_distance"


class EarthMoverDistance(NamedTuple):
    """Result of :func:`earth_mover_distance`."""

    cost: Tensor
    """[B] mean distance travelled per point, in the unit of the coordinates."""
    index: Tensor | None
    """[B, N] int64, ``method="exact"`` only: ``a[i]`` goes to ``b[index[i]]``; -1 where the cost is NaN."""


def _fake_match(a: Tensor, b: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    if not with_gradient:
        return a.new_empty(a.shape[:1]), a.new_empty(0), a.new_empty(0)
    return a.new_empty(a.shape[:1]), a.new_empty(a.shape), a.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[1], output[2])
    ctx.with_gradient = inputs[2]


def _backward(ctx: Any, grad_cost: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    if not ctx.with_gradient:
        raise RuntimeError("mae3d::approximate_match: call it with with_gradient=True to differentiate its cost")
    unit_a, unit_b = ctx.saved_tensors
    return grad_cost[:, None, None] * unit_a, grad_cost[:, None, None] * unit_b, None


_approximate_match = define(
    "approximate_match(Tensor a, Tensor b, bool with_gradient) -> (Tensor, Tensor, Tensor)",
    reference=reference.approximate_match,
    fake=_fake_match,
    setup_context=_setup_context,
    backward=_backward,
)
_optimal_assignment = define(
    "optimal_assignment(Tensor a, Tensor b) -> Tensor",
    reference=reference.optimal_assignment,
    fake=lambda a, b: a.new_empty(a.shape[:2], dtype=torch.int64),
)


def _check(a: Tensor, b: Tensor, method: str) -> None:
    floating = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    check_tensor(_OP, "a", a, (None, None, 3), floating)
    check_tensor(_OP, "b", b, (a.shape[0], None, 3), floating)
    check_same_device(_OP, a=a, b=b)
    require(method in ("approximate", "exact"), f"{_OP}: 'method' must be 'approximate' or 'exact', got {method!r}")
    n, m = a.shape[1], b.shape[1]
    if method == "exact":
        require(n == m, f"{_OP}: method 'exact' needs as many points in 'b' as in 'a', got {m} and {n}")
        require(n <= 16384, f"{_OP}: method 'exact' takes at most 16384 points, got {n}; use method 'approximate'")
        require(a.device.type == "cpu", f"{_OP}: method 'exact' runs on the CPU only: pass a.cpu() and b.cpu()")
    else:
        require((n == 0) == (m == 0), f"{_OP}: 'a' and 'b' must both hold points, got {n} and {m}")


def _exact(a: Tensor, b: Tensor) -> EarthMoverDistance:
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    index = _optimal_assignment(a.detach().double(), b.detach().double())
    found = index >= 0
    partner = b.to(dtype).gather(1, index.clamp(min=0)[..., None].expand(-1, -1, 3))
    step = torch.where(found[..., None], a.to(dtype), 0) - torch.where(found[..., None], partner, 0)
    squared = step.square().sum(-1)
    apart = found & (squared > 0)
    # The root of 0 is kept out of the graph: coinciding points have gradient 0.
    distance = torch.where(apart, torch.where(apart, squared, 1).sqrt(), 0)
    cost = distance.sum(1) / max(1, a.shape[1])
    return EarthMoverDistance(torch.where(found.all(1), cost, torch.nan), index)


def earth_mover_distance(
    a: Tensor, b: Tensor, *, method: Literal["approximate", "exact"] = "approximate"
) -> EarthMoverDistance:
    """Mean distance that the points of ``a`` travel to become those of ``b``, for each pair of clouds.

    ``method="approximate"`` is the matching of Fan, Su and Guibas, "A Point Set Generation Network for 3D Object
    Reconstruction from a Single Image" (CVPR 2017, supplement and released code ``approxmatch``), which PointFlow and
    PVD report as EMD. Every point of ``a`` holds the mass max(N, M) / N, every point of ``b`` max(N, M) / M. In ten
    rounds with level = -4^7, -4^6, ..., -4^-1, and finally 0, each ``a`` offers the mass it has left in proportion to
    exp(level * squared distance) times what each ``b`` has left; a ``b`` that is offered more than it has left scales
    the offers down; what is accepted joins the match. The cost is the sum of match times distance, over max(N, M).
    The result depends on the scale of the coordinates: the published use is clouds about one unit in size. The
    gradient holds the match fixed, as the released code does. Where N does not divide M or M does not divide N, that
    code rounds the mass of a point down to an integer; here masses are the exact ratios. Computed in float32.

    ``method="exact"`` is the assignment of least total distance (Jonker and Volgenant, Computing 38, 1987), for
    N == M up to 16384 points, on the CPU, in float64, with memory 8 N^2 bytes per thread. The gradient holds the
    assignment fixed.

    Args:
        a: [B, N, 3] float; half types are computed in float32.
        b: [B, M, 3] float, on the same device.
        method: "approximate" or "exact".

    Returns:
        cost [B], differentiable in both clouds (gradient 0 where matched points coincide), and the assignment for
        ``method="exact"``. A pair with a coordinate that is not finite or beyond 1e18 has cost NaN and zero gradient.
        Two empty clouds have cost 0.

    Raises:
        OperatorInputError: a shape, dtype, device or ``method`` is wrong; exactly one cloud is empty; ``"exact"``
            with N != M or on another device than the CPU.
    """
    _check(a, b, method)
    if method == "exact":
        return _exact(a, b)
    with_gradient = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    return EarthMoverDistance(_approximate_match(a.float(), b.float(), with_gradient)[0], None)
