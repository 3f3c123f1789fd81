"""Sub-sampling of batches of object clouds, as the family's fine-tuning and test protocols do it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.transforms.augment import Batch
from mae3d.datasets.transforms.random_draws import draw_permutation
from mae3d.errors import ConfigError, DataError
from mae3d.ops import furthest_point_sample
from mae3d.registry import TRANSFORMS

PUBLISHED_POOLS = {1024: 1200, 2048: 2400, 4096: 4800, 8192: 8192}
"""Points wanted -> points of the furthest-point pool that training draws them from."""


def take_points(batch: Batch, indices: Tensor) -> Batch:
    """Keep points ``indices`` ([B, M], or [M] for all clouds alike) and their part labels."""
    if indices.dim() == 1:
        indices = indices.expand(len(batch["points"]), -1)
    points = batch["points"]
    result: dict[str, Any] = {**batch, "points": points.gather(1, indices[..., None].expand(-1, -1, points.shape[-1]))}
    if "part_label" in batch:
        result["part_label"] = batch["part_label"].gather(1, indices)
    return result


def _check_stored(transform: str, batch: Batch, wanted: int) -> int:
    stored = batch["points"].shape[1]
    if stored < wanted:
        raise DataError(f"{transform}: clouds have {stored} points, {wanted} are wanted. Lower npoints in the config.")
    return stored


@TRANSFORMS.register_module()
class SampleFarthest:
    """Furthest-point subset, optionally a random part of a larger one.

    For testing, ``pool=None``: the first ``npoints`` furthest points. For training, ``pool="published"``: a pool of
    1200, 2400, 4800 or 8192 furthest points (at most all of them), then one random index set of ``npoints`` that the
    whole batch shares.

    Args:
        npoints: Points to keep.
        pool: None, "published", or the size of the pool.
        skip_near_origin: Squared norm under which the published operator passes points over (1e-3); None: none is.
    """

    def __init__(self, npoints: int, pool: int | str | None = None, *, skip_near_origin: float | None = None) -> None:
        if npoints < 1:
            raise ConfigError(f"SampleFarthest: npoints must be at least 1, got {npoints}")
        if pool == "published":
            if npoints not in PUBLISHED_POOLS:
                known = ", ".join(map(str, PUBLISHED_POOLS))
                raise ConfigError(f'SampleFarthest: pool="published" is defined for {known} points, got {npoints}')
            pool = PUBLISHED_POOLS[npoints]
        if pool is not None and (not isinstance(pool, int) or pool < npoints):
            raise ConfigError(f'SampleFarthest: pool must be None, "published" or >= npoints={npoints}, got {pool!r}')
        self.npoints = npoints
        self.pool = pool
        self.skip_near_origin = skip_near_origin

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        stored = _check_stored("SampleFarthest", batch, self.npoints)
        pool = self.npoints if self.pool is None else min(self.pool, stored)
        if pool == stored and self.skip_near_origin is None:
            # All points are in the pool: only their order could change, and no later part depends on it.
            order = torch.arange(stored, device=batch["points"].device)
            farthest = order.expand(len(batch["points"]), -1)
        else:
            xyz = batch["points"][..., :3].contiguous()
            farthest = furthest_point_sample(xyz, pool, skip_near_origin=self.skip_near_origin)
        if self.pool is not None:
            chosen = draw_permutation(pool, batch["points"], generator)[: self.npoints]
            farthest = farthest[:, chosen]
        return take_points(batch, farthest)


@TRANSFORMS.register_module()
class SampleRandom:
    """Random subset of ``npoints`` points, one index set for the whole batch."""

    def __init__(self, npoints: int) -> None:
        if npoints < 1:
            raise ConfigError(f"SampleRandom: npoints must be at least 1, got {npoints}")
        self.npoints = npoints

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        stored = _check_stored("SampleRandom", batch, self.npoints)
        return take_points(batch, draw_permutation(stored, batch["points"], generator)[: self.npoints])
