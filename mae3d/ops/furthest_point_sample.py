"""Farthest point sampling: a subset of a cloud that covers it evenly.

Source: Eldar et al. 1997; PointNet++ (Qi et al. 2017), section 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import _checks
from mae3d.ops._library import define
from mae3d.ops.reference import furthest_point_sample as reference

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_SKIP_NOTHING = -1.0


class FurthestPointSamples(NamedTuple):
    """Picks of a packed batch."""

    indices: Tensor
    """[S] int64: rows of ``points``, cloud after cloud, each cloud's picks in the order in which they were made."""
    offsets: Tensor
    """[B + 1] int64: the picks of cloud b are ``indices[offsets[b]:offsets[b + 1]]``."""


def _fake_dense(points: Tensor, num_samples: int, start: Tensor, skip_squared_norm: float) -> Tensor:
    return points.new_empty(points.shape[0], num_samples, dtype=torch.int64)


def _fake_packed(
    points: Tensor,
    offsets: Tensor,
    sample_offsets: Tensor,
    total_samples: int,
    start: Tensor,
    skip_squared_norm: float,
) -> Tensor:
    return points.new_empty(total_samples, dtype=torch.int64)


_dense = define(
    "furthest_point_sample(Tensor points, SymInt num_samples, Tensor start, float skip_squared_norm) -> Tensor",
    reference=reference.furthest_point_sample,
    fake=_fake_dense,
)
_packed = define(
    "furthest_point_sample_packed(Tensor points, Tensor offsets, Tensor sample_offsets, SymInt total_samples,"
    " Tensor start, float skip_squared_norm) -> Tensor",
    reference=reference.furthest_point_sample_packed,
    fake=_fake_packed,
)


def furthest_point_sample(
    points: Tensor,
    num_samples: int,
    *,
    start: int | Tensor | str = 0,
    skip_near_origin: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Pick ``num_samples`` points of every cloud, each the farthest from all picked before it.

    Args:
        points: [B, N, 3] metres; computed in float32 whatever the dtype.
        num_samples: S <= N. With ``skip_near_origin`` it may exceed the number of candidates, see there.
        start: First pick of every cloud: a row, one row per cloud ([B] int64), or ``"random"``.
        skip_near_origin: Squared norm up to which points are left out (start excepted); when all others are
            used up, picks repeat. ``1e-3`` is what pointnet2_ops does, hence what Point-BERT, Point-MAE and
            their kin were trained with. ``None``: every point counts.
        generator: Source of a random start; default the global generator. It may live on another device.

    Returns:
        [B, S] int64 rows of each cloud, in the order of picking. Squared distances are compared as
        ``(dx * dx + dy * dy) + dz * dz`` in float32; ties go to the lowest row on every device. Coincident
        points repeat a row once nothing but copies of picked points is left. Points with NaN or infinity are
        never picked, except as start; where no point can be picked, start is repeated.

    Raises:
        OperatorInputError: Wrong shape or dtype, more samples than points, a start outside the cloud.
    """
    op = "furthest_point_sample"
    _checks.check_tensor(op, "points", points, (None, None, 3), _FLOATS)
    batch, count = points.shape[:2]
    _check_num_samples(op, num_samples)
    if num_samples > 0 and batch > 0:
        _check_count(op, count, num_samples, skip_near_origin, "every cloud")
    if num_samples == 0 or batch == 0:
        return points.new_empty(batch, num_samples, dtype=torch.int64)
    counts = torch.full((batch,), count, device=points.device)
    first = _start_rows(op, start, counts, points, generator)
    return _dense(points.detach().float(), num_samples, first, _threshold(op, skip_near_origin))


def furthest_point_sample_packed(
    points: Tensor,
    offsets: Tensor,
    num_samples: int | Tensor,
    *,
    start: int | Tensor | str = 0,
    skip_near_origin: float | None = None,
    generator: torch.Generator | None = None,
    total_samples: int | None = None,
) -> FurthestPointSamples:
    """:func:`furthest_point_sample` of clouds of different size, without padding.

    Args:
        points: [T, 3] metres, clouds one after another.
        offsets: [B + 1] int64; cloud b is ``points[offsets[b]:offsets[b + 1]]``.
        num_samples: For all clouds, or one count per cloud ([B] int64).
        start: Row inside each cloud, one per cloud ([B] int64), or ``"random"``; ignored by clouds of which
            nothing is picked.
        skip_near_origin: As for dense clouds.
        generator: As for dense clouds.
        total_samples: Sum of a tensor ``num_samples``, if known: saves reading the tensor, which waits for a
            GPU and is a data-dependent size under ``torch.compile`` (traceable in one graph only with
            ``torch._dynamo.config.capture_scalar_outputs``).

    Returns:
        Global rows and their offsets.

    Raises:
        OperatorInputError: As for dense clouds. The values of offsets, counts and starts are checked on the CPU
            in eager mode; on a GPU, starts and offsets are clamped, and a cloud that has too few points repeats
            picks (-1 if it has none).
    """
    op = "furthest_point_sample_packed"
    _checks.check_tensor(op, "points", points, (None, 3), _FLOATS)
    _checks.check_offsets(op, "offsets", offsets, points.shape[0])
    _checks.check_same_device(op, points=points, offsets=offsets)
    counts = offsets.diff()
    samples, total = _sample_counts(op, num_samples, counts, total_samples)
    if _values_known(points):
        for cloud, (count, wanted) in enumerate(zip(counts.tolist(), samples.tolist())):
            _check_num_samples(op, wanted)
            if wanted > 0:
                _check_count(op, count, wanted, skip_near_origin, f"cloud {cloud}")
    sample_offsets = torch.nn.functional.pad(samples.cumsum(0), (1, 0))
    first = _start_rows(op, start, counts, points, generator, unused=samples == 0)
    threshold = _threshold(op, skip_near_origin)
    indices = _packed(points.detach().float(), offsets, sample_offsets, total, first, threshold)
    return FurthestPointSamples(indices, sample_offsets)


def _values_known(tensor: Tensor) -> bool:
    """Whether the values of tensors on this device may be looked at: eager mode, host memory."""
    fake = isinstance(tensor, torch._subclasses.FakeTensor)
    return tensor.device.type == "cpu" and not fake and not torch.compiler.is_compiling()


def _check_num_samples(op: str, num_samples: int) -> None:
    if num_samples < 0:
        raise OperatorInputError(f"{op}: 'num_samples' must be >= 0, got {num_samples}")


def _check_count(op: str, count: int, num_samples: int, skip: float | None, where: str) -> None:
    if num_samples > count and (skip is None or count == 0):
        raise OperatorInputError(
            f"{op}: 'num_samples' is {num_samples}, but {where} has only {count} points;"
            " ask for fewer samples or give more points"
        )


def _threshold(op: str, skip_near_origin: float | None) -> float:
    if skip_near_origin is None:
        return _SKIP_NOTHING
    _checks.check_range(op, "skip_near_origin", skip_near_origin, 0.0)
    return float(skip_near_origin)


def _sample_counts(op: str, num_samples: int | Tensor, counts: Tensor, total_samples: int | None) -> tuple[Tensor, int]:
    """Number of samples per cloud [B] and their sum."""
    if not isinstance(num_samples, Tensor):
        _check_num_samples(op, num_samples)
        return torch.full_like(counts, num_samples), num_samples * counts.shape[0]
    _checks.check_tensor(op, "num_samples", num_samples, (counts.shape[0],), (torch.int64,))
    _checks.check_same_device(op, offsets=counts, num_samples=num_samples)
    if total_samples is None:
        total = num_samples.sum().item()
        torch._check(total >= 0)
        return num_samples, total
    if _values_known(num_samples) and total_samples != num_samples.sum().item():
        raise OperatorInputError(
            f"{op}: 'total_samples' must be the sum of 'num_samples', {num_samples.sum().item()}, got {total_samples}"
        )
    return num_samples, total_samples


def _start_rows(
    op: str,
    start: int | Tensor | str,
    counts: Tensor,
    points: Tensor,
    generator: torch.Generator | None,
    unused: Tensor | None = None,
) -> Tensor:
    """First pick [B] int64 of clouds of ``counts`` points; clouds marked ``unused`` may hold anything."""
    if isinstance(start, str):
        if start != "random":
            raise OperatorInputError(f"{op}: 'start' must be a row, a Tensor or \"random\", got {start!r}")
        device = points.device if generator is None else generator.device
        share = torch.rand(counts.shape, dtype=torch.float64, generator=generator, device=device).to(points.device)
        return torch.minimum((share * counts).long(), counts - 1)
    if isinstance(start, Tensor):
        _checks.check_tensor(op, "start", start, (counts.shape[0],), (torch.int64,))
        _checks.check_same_device(op, points=points, start=start)
        rows = start
    else:
        rows = torch.full_like(counts, start)
    if _values_known(points):
        wrong = (rows < 0) | (rows >= counts)
        if unused is not None:
            wrong &= ~unused
        if wrong.any():
            cloud = int(wrong.nonzero()[0])
            raise OperatorInputError(
                f"{op}: 'start' of cloud {cloud} must be a row in [0, {int(counts[cloud])}), got {int(rows[cloud])}"
            )
    return rows
