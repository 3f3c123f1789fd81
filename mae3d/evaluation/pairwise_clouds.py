"""Distances between all pairs of two sets of clouds, in chunks, on any device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mae3d.errors import ConfigError, DataError
from mae3d.ops import chamfer_distance, earth_mover_distance

Kind = Literal["cd", "emd"]
Report = Callable[[int, int], None]
"""Called with (pairs done, pairs in all)."""

PAIRS = {"cpu": 256, "cuda": 1024}
"""Pairs per call: enough work for the device, and below half a gigabyte for clouds of 2048 points."""


def chamfer(a: Tensor, b: Tensor) -> Tensor:
    """Chamfer distance of each pair of clouds [B, P, 3], [B, Q, 3]: mean squared distance, both ways added. [B]."""
    found = chamfer_distance(a, b)
    return found.a_to_b.mean(dim=1) + found.b_to_a.mean(dim=1)


def earth_mover(a: Tensor, b: Tensor) -> Tensor:
    """Approximate earth mover's distance per point of each pair of clouds, as published metrics use it. [B]."""
    return earth_mover_distance(a, b).cost


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cd": chamfer, "emd": earth_mover}
"""Name -> distance of pairs."""


def check_clouds(name: str, clouds: Tensor) -> None:
    """Raise DataError unless ``clouds`` is [S, P, 3] with clouds and points in it, all finite."""
    if clouds.dim() != 3 or clouds.shape[2] != 3 or 0 in clouds.shape:
        raise DataError(f"{name} must be [S, P, 3] with at least one cloud and one point, got {list(clouds.shape)}")
    bad = (~clouds.isfinite()).flatten(1).any(dim=1)
    if bad.any():
        raise DataError(
            f"{name}: {int(bad.sum())} of {len(clouds)} clouds hold NaN or infinite points, the first is "
            f"{int(bad.long().argmax())}. A diverged model gives such samples; look at them before comparing"
        )


@torch.no_grad()
def pairwise_distances(
    a: Tensor, b: Tensor | None = None, kind: Kind = "cd", *, pairs: int | None = None, report: Report | None = None
) -> Tensor:
    """Distance of every cloud of ``a`` to every cloud of ``b``.

    Args:
        a: [S, P, 3].
        b: [R, Q, 3] on the same device; None for ``a`` itself. Then the Chamfer distance of (j, i), which equals that
            of (i, j), is not computed again; the approximate earth mover's distance depends on the order and is.
        kind: "cd" or "emd".
        pairs: Pairs per call, None for a number that fits the device.
        report: Progress.

    Returns:
        float32 [S, R].
    """
    if kind not in DISTANCES:
        raise ConfigError(f"pairwise_distances: kind must be one of {sorted(DISTANCES)}, got {kind!r}")
    other = a if b is None else b
    check_clouds("a", a)
    check_clouds("b", other)
    rows, columns = _pairs(len(a), len(other), half=b is None and kind == "cd", device=a.device)
    pairs = pairs or PAIRS.get(a.device.type, PAIRS["cpu"])
    result = a.new_zeros(len(a), len(other), dtype=torch.float32)
    for start in range(0, len(rows), pairs):
        row, column = rows[start : start + pairs], columns[start : start + pairs]
        found = DISTANCES[kind](a[row], other[column]).float()
        result[row, column] = found
        if b is None and kind == "cd":
            result[column, row] = found
        if report is not None:
            report(min(start + pairs, len(rows)), len(rows))
    return result


def _pairs(rows: int, columns: int, *, half: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """Row and column of each pair, row by row; ``half`` keeps those above the diagonal."""
    if half:
        return torch.triu_indices(rows, columns, offset=1, device=device).unbind()
    every = torch.arange(rows * columns, device=device)
    return every // columns, every % columns
